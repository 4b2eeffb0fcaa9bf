/* reach.c - see reach.h. */
#include "base/reach.h"

#include <inttypes.h>
#include <stdio.h>

bool stores__reach_is_beyond(struct stores__reach one, struct stores__reach other) {
    if (one.timeline != other.timeline) return one.timeline > other.timeline;
    return one.lsn > other.lsn;
}

bool stores__lsn_read(const char *text, uint64_t *lsn) {
    char *end;
    if (text == NULL) return false;
    unsigned long long high = strtoull(text, &end, 16);
    if (end == text || *end != '/' || high > UINT32_MAX) return false;
    const char *rest = end + 1;
    unsigned long long low = strtoull(rest, &end, 16);
    if (end == rest || *end != '\0' || low > UINT32_MAX) return false;
    *lsn = (uint64_t)high << 32 | low;
    return true;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

enum { SYSTEM_DIGITS = 20, TIMELINE_DIGITS = 8, PLACE_DIGITS = 16, XID_DIGITS = 16 };

static const char hex[] = "0123456789ABCDEF";

/* The end of ".<xid>"; NULL: there is none. */
static const char *end_of_xid(const char *text) {
    return *text == '.' && strspn(text + 1, hex) == XID_DIGITS ? text + 1 + XID_DIGITS : NULL;
}

/* The end of its place in an entry; NULL: it is none. */
static const char *end_of_place(const char *entry) {
    size_t system = strspn(entry, "0123456789");
    if (system == 0 || system > SYSTEM_DIGITS || entry[system] != '.') return NULL;
    const char *timeline = entry + system + 1;
    if (strspn(timeline, hex) != TIMELINE_DIGITS || timeline[TIMELINE_DIGITS] != '.') return NULL;
    const char *place = timeline + TIMELINE_DIGITS + 1;
    return strspn(place, hex) == PLACE_DIGITS ? place + PLACE_DIGITS : NULL;
}

/* The end of an entry; NULL: it is none. */
static const char *end_of(const char *entry) {
    const char *end = end_of_place(entry);
    if (end == NULL || *end != '.') return end;
    end = end_of_xid(end);
    return end != NULL ? end_of_xid(end) : NULL;
}

/* The entry behind one; NULL: it is the last. */
static const char *next_of(const char *entry) {
    const char *end = end_of(entry);
    return end != NULL && *end == ',' ? end + 1 : NULL;
}

static bool is_of(const char *entry, const char *system) {
    size_t len = strlen(system);
    return strncmp(entry, system, len) == 0 && entry[len] == '.';
}

bool stores__token_is(const char *text) {
    while (text != NULL) {
        const char *end = end_of(text);
        if (end == NULL) return false;
        if (*end == '\0') return true;
        text = *end == ',' ? end + 1 : NULL;
    }
    return false;
}

bool stores__token_read(const char *text, const char *system, struct stores__reach *reach) {
    bool found = false;
    for (const char *end; text != NULL; text = next_of(text)) {
        if (!is_of(text, system) || (end = end_of_place(text)) == NULL) continue;
        struct stores__reach one = {(uint32_t)strtoul(strchr(text, '.') + 1, NULL, 16),
                                    strtoull(end - PLACE_DIGITS, NULL, 16)};
        if (!found || stores__reach_is_beyond(one, *reach)) *reach = one;
        found = true;
    }
    return found;
}

void stores__token_add_shown(const char *text, const char *system, struct stores__shown *shown) {
    for (const char *end; text != NULL; text = next_of(text)) {
        if (system != NULL && !is_of(text, system)) continue;
        if ((end = end_of_place(text)) == NULL || *end != '.') continue;
        struct stores__shown one = {strtoull(end + 1, NULL, 16),
                                    strtoull(end + 1 + XID_DIGITS + 1, NULL, 16)};
        stores__shown_add(shown, one);
    }
}

void stores__token_write(const char *system, struct stores__reach reach, struct stores__shown shown,
                         char token[STORES_TOKEN_SIZE]) {
    int len = snprintf(token, STORES_TOKEN_SIZE, "%.20s.%08" PRIX32 ".%016" PRIX64, system,
                       reach.timeline, reach.lsn);
    if (shown.below == 0) return;
    snprintf(token + len, STORES_TOKEN_SIZE - (size_t)len, ".%016" PRIX64 ".%016" PRIX64,
             shown.below, shown.running);
}
