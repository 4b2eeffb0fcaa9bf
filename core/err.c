/* err.c - the lists of stores.h as functions, and errors from PostgreSQL's: see err.h. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>

struct code_info {
    const char *name;
    int http;
    bool retryable;
};

static const struct code_info codes[STORES_CODE_MAX] = {[STORES_OK] = {"ok", 200, false},
#define STORES_X(NAME, name, http, retryable, text) [STORES_##NAME] = {name, http, retryable},
                                                        STORES_ERRORS(STORES_X)
#undef STORES_X
};

static const struct code_info *info(stores_code code) {
    if ((int)code < 0 || code >= STORES_CODE_MAX) code = STORES_INTERNAL;
    return &codes[code];
}

const char *stores_code_name(stores_code code) {
    return info(code)->name;
}

int stores_code_http(stores_code code) {
    return info(code)->http;
}

const char *stores_outcome_name(stores_outcome outcome) {
    if (outcome == STORES_OUTCOME_COMMITTED) return "committed";
    return outcome == STORES_OUTCOME_UNKNOWN ? "unknown" : "none";
}

/* Where to cut text so that at most room bytes stay and no UTF-8 character is halved. */
static size_t cut_at(const char *text, size_t len, size_t room) {
    if (len <= room) return len;
    while (room > 0 && ((unsigned char)text[room] & 0xC0) == 0x80) room--;
    return room;
}

static void copy_part(char *out, size_t size, const char *text, size_t len) {
    len = cut_at(text, len, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

static void copy(char *out, size_t size, const char *text) {
    copy_part(out, size, text ? text : "", text ? strlen(text) : 0);
}

static void fill(stores_error *e, stores_code code, const char *format, va_list args) {
    char text[sizeof e->message + 4]; /* room to see where the last character ends */

    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = '\0';
    memset(e, 0, sizeof *e);
    e->code = code;
    e->retryable = info(code)->retryable;
    e->outcome = STORES_OUTCOME_NONE;
    e->shard = -1;
    copy(e->message, sizeof e->message, text);
}

void stores__error_set(stores_error *e, stores_code code, const char *format, ...) {
    va_list args;

    va_start(args, format);
    fill(e, code, format, args);
    va_end(args);
}

/* ---- On the heap ---------------------------------------------------------------------------- */

static _Thread_local stores_error fallback;

static stores_error *no_memory(void) {
    stores__error_set(&fallback, STORES_NO_MEMORY, "memory ran out");
    return &fallback;
}

stores_error *stores__error_new(stores_code code, const char *format, ...) {
    stores_error *e = malloc(sizeof *e);
    va_list args;

    if (!e) return no_memory();
    va_start(args, format);
    fill(e, code, format, args);
    va_end(args);
    return e;
}

stores_error *stores__error_dup(const stores_error *e) {
    stores_error *copied = malloc(sizeof *copied);

    if (!copied) return no_memory();
    *copied = *e;
    return copied;
}

void stores__error_free(stores_error *e) {
    if (e != &fallback) free(e);
}

bool stores__error_is_stray_cancel(const stores_error *e) {
    return e != NULL && e->code == STORES_CANCELED && e->outcome == STORES_OUTCOME_NONE &&
           strstr(e->message, "timeout") == NULL;
}

/* ---- From PostgreSQL ------------------------------------------------------------------------ */

/* Prefixes of SQLSTATEs; the first that fits decides. */
static const struct {
    char prefix[6];
    stores_code code;
} sqlstates[] = {
    {"23505", STORES_DUPLICATE},       {"23", STORES_CONSTRAINT},
    {"40001", STORES_SERIALIZATION},   {"40P01", STORES_DEADLOCK},
    {"55P03", STORES_LOCK_TIMEOUT},    {"57014", STORES_CANCELED},
    {"25006", STORES_READ_ONLY},       {"25P03", STORES_CONNECTION_LOST},
    {"42P01", STORES_TABLE_NOT_FOUND}, {"28", STORES_AUTH_FAILED},
    {"3D000", STORES_AUTH_FAILED},     {"53300", STORES_CONNECT_FAILED},
    {"08", STORES_CONNECTION_LOST},    {"57P0", STORES_CONNECTION_LOST},
};

static stores_code code_of(const char *sqlstate) {
    size_t i;

    for (i = 0; i < sizeof sqlstates / sizeof *sqlstates; i++) {
        const char *prefix = sqlstates[i].prefix;
        if (strncmp(sqlstate, prefix, strlen(prefix)) == 0) return sqlstates[i].code;
    }
    return STORES_QUERY_FAILED;
}

/* The quotation marks of the server's translations; the value that a message quotes lies between
 * the first and the last of them. */
static const char *const quotes[] = {"\"", "«", "»", "„", "“", "”", "‘", "’"};

static bool find_quotes(const char *text, const char **first, const char **last, size_t *last_len) {
    size_t i;

    *first = *last = NULL;
    for (i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        const char *at = text;
        while ((at = strstr(at, quotes[i])) != NULL) {
            if (!*first || at < *first) *first = at;
            if (!*last || at > *last) {
                *last = at;
                *last_len = strlen(quotes[i]);
            }
            at += strlen(quotes[i]);
        }
    }
    return *first != NULL;
}

/* Whether the refused value is the core's own marker; then says so in words. */
static bool set_blocked(stores_error *e, const char *message) {
    static const char marker[] = "stores:blocked:";
    const char *first, *last, *at;
    size_t last_len, gap;

    if (!find_quotes(message, &first, &last, &last_len)) return false;
    at = strstr(first, marker);
    if (!at) return false;
    /* French puts a no-break space inside its quotation marks: the marker follows the opening one
     * within five bytes, or it is in the middle of somebody's value. */
    gap = (size_t)(at - first);
    if (gap > 5) return false;
    at += sizeof marker - 1;
    if (last < at) last = at + strlen(at);
    if (last - at >= 2 && memcmp(last - 2, "\xC2\xA0", 2) == 0) last -= 2;
    stores__error_set(e, STORES_PATH_BLOCKED, "%.*s", (int)cut_at(at, (size_t)(last - at), 400),
                      at);
    return true;
}

/* Keeps the kind of a data exception and drops the value that it quotes: all that follows a colon
 * (`invalid input syntax for type integer: "x"`), else what is between the quotation marks
 * (`value "99999999999" is out of range for type integer`). */
static void set_without_value(stores_error *e, stores_code code, const char *message) {
    const char *first, *last, *colon = strstr(message, ": ");
    size_t last_len;

    if (!find_quotes(message, &first, &last, &last_len)) {
        stores__error_set(e, code, "%s", message);
    } else if (colon && colon < first) {
        stores__error_set(e, code, "%.*s", (int)(colon - message), message);
    } else if (last == first || (colon && colon > last)) {
        stores__error_set(e, code, "%.*s...", (int)(first - message), message);
    } else {
        stores__error_set(e, code, "%.*s\"...\"%s", (int)(first - message), message,
                          last + last_len);
    }
}

void stores__error_from_pg(stores_error *e, const char *sqlstate, const char *message,
                           const char *detail, const char *hint, const char *constraint,
                           const char *table) {
    if (!sqlstate) sqlstate = "";
    if (!message) message = "the server gave no message";
    if (strncmp(sqlstate, "22", 2) == 0) {
        if (!set_blocked(e, message)) set_without_value(e, STORES_QUERY_FAILED, message);
        if (strcmp(e->message, message) != 0) {
            int room = (int)cut_at(message, strlen(message), sizeof e->detail - 1);
            char text[2 * sizeof e->detail];
            snprintf(text, sizeof text, "%.*s%s%.*s", room, message, detail ? "; " : "",
                     (int)sizeof e->detail - 8, detail ? detail : "");
            copy(e->detail, sizeof e->detail, text);
            detail = NULL;
        }
    } else {
        stores__error_set(e, code_of(sqlstate), "%s", message);
    }
    copy(e->sqlstate, sizeof e->sqlstate, sqlstate);
    if (detail) copy(e->detail, sizeof e->detail, detail);
    copy(e->hint, sizeof e->hint, hint);
    copy(e->constraint, sizeof e->constraint, constraint);
    copy(e->table, sizeof e->table, table);
}
