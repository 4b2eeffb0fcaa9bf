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

enum { SYSTEM_DIGITS = 20, TIMELINE_DIGITS = 8, PLACE_DIGITS = 16 };

static const char hex[] = "0123456789ABCDEF";

/* The end of an entry; NULL: it is none. */
static const char *end_of(const char *entry) {
    size_t system = strspn(entry, "0123456789");
    if (system == 0 || system > SYSTEM_DIGITS || entry[system] != '.') return NULL;
    const char *timeline = entry + system + 1;
    if (strspn(timeline, hex) != TIMELINE_DIGITS || timeline[TIMELINE_DIGITS] != '.') return NULL;
    const char *place = timeline + TIMELINE_DIGITS + 1;
    return strspn(place, hex) == PLACE_DIGITS ? place + PLACE_DIGITS : NULL;
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
    size_t len = strlen(system);
    bool found = false;
    for (const char *end; text != NULL && (end = end_of(text)) != NULL;) {
        if (strncmp(text, system, len) == 0 && text[len] == '.') {
            struct stores__reach one = {(uint32_t)strtoul(text + len + 1, NULL, 16),
                                        strtoull(end - PLACE_DIGITS, NULL, 16)};
            if (!found || stores__reach_is_beyond(one, *reach)) *reach = one;
            found = true;
        }
        text = *end == ',' ? end + 1 : NULL;
    }
    return found;
}

void stores__token_write(const char *system, struct stores__reach reach,
                         char token[STORES_TOKEN_SIZE]) {
    snprintf(token, STORES_TOKEN_SIZE, "%.20s.%08" PRIX32 ".%016" PRIX64, system, reach.timeline,
             reach.lsn);
}
