/* err.c - the lists of stores.h as functions, and errors from PostgreSQL's: see err.h. */
#include "base/err.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

struct code_info {
    const char *name;
    int http;
    bool retryable;
};

static const struct code_info codes[] = {[STORES_OK] = {"ok", 200, false},
#define STORES_X(NAME, number, name, http, retryable, text) [number] = {name, http, retryable},
                                         STORES_ERRORS(STORES_X)
#undef STORES_X
};

static const struct code_info *info(stores_code code) {
    size_t index = (unsigned)code;
    if (index >= sizeof codes / sizeof *codes || codes[index].name == NULL) index = STORES_INTERNAL;
    return &codes[index];
}

const char *stores_code_name(stores_code code) {
    return info(code)->name;
}

int stores_code_http(stores_code code) {
    return info(code)->http;
}

const char *stores_outcome_name(stores_outcome outcome) {
    if (outcome == STORES_OUTCOME_COMMITTED) return "committed";
    return outcome == STORES_OUTCOME_NONE ? "none" : "unknown";
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
    e->size = sizeof *e;
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

void stores__error_reword(stores_error *e, const char *format, ...) {
    char text[sizeof e->message + 4];
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) >= 0) copy(e->message, sizeof e->message, text);
    va_end(args);
}

/* ---- On the heap ---------------------------------------------------------------------------- */

/* One for each outcome. Whoever asks again is given what those who hold one have already. */
static _Thread_local stores_error fallbacks[STORES_OUTCOME_UNKNOWN + 1];

static stores_error *no_memory(stores_outcome outcome) {
    stores_error *e = &fallbacks[outcome];
    if (e->code != STORES_OK) return e;
    stores__error_set(e, STORES_NO_MEMORY, "memory ran out");
    e->outcome = outcome;
    return e;
}

static bool is_fallback(const stores_error *e) {
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++) {
        if (e == &fallbacks[i]) return true;
    }
    return false;
}

stores_error *stores__error_new(stores_code code, const char *format, ...) {
    stores_error *e = malloc(sizeof *e);
    va_list args;

    if (!e) return no_memory(STORES_OUTCOME_NONE);
    va_start(args, format);
    fill(e, code, format, args);
    va_end(args);
    return e;
}

stores_error *stores__error_dup(const stores_error *e) {
    stores_error *copied = malloc(sizeof *copied);

    if (!copied) return no_memory(e->outcome);
    *copied = *e;
    return copied;
}

void stores__error_free(stores_error *e) {
    if (!is_fallback(e)) free(e);
}

void stores__error_outcome(stores_error **e, stores_outcome outcome) {
    if (is_fallback(*e)) {
        *e = no_memory(outcome);
    } else {
        (*e)->outcome = outcome;
        (*e)->retryable = outcome == STORES_OUTCOME_NONE && info((*e)->code)->retryable;
    }
}

void stores__error_shard(stores_error *e, int shard) {
    if (!is_fallback(e)) e->shard = shard;
}

/* ---- From PostgreSQL ------------------------------------------------------------------------ */

/* Prefixes of SQLSTATEs; the first that fits decides. What the caller gave (22, 54, 42P02 ..) is no
 * failure of the server's. The hint is said where the server has none. */
static const struct {
    char prefix[6];
    stores_code code;
    const char *hint;
} sqlstates[] = {
    {"23505", STORES_DUPLICATE, NULL},
    {"23", STORES_CONSTRAINT, NULL},
    {"44000", STORES_CONSTRAINT, NULL}, /* WITH CHECK OPTION of a view */
    {"22", STORES_INVALID_ARGUMENT, NULL},
    {"42P02", STORES_INVALID_ARGUMENT, "pass as many parameters as the text has"},
    {"42P18", STORES_INVALID_ARGUMENT, "say the type of the parameter: $1::text"},
    {"428C9", STORES_UNSUPPORTED, "a column that PostgreSQL generates cannot be given a value"},
    {"42P10", STORES_UNSUPPORTED,
     "a unique index on just what ON CONFLICT names is needed, of an upsert PRIMARY KEY (id)"},
    {"0A000", STORES_UNSUPPORTED, NULL},
    {"54", STORES_TOO_LARGE, NULL},
    {"40001", STORES_SERIALIZATION, NULL},
    {"40P01", STORES_DEADLOCK, NULL},
    {"55P03", STORES_LOCK_TIMEOUT, NULL},
    {"57014", STORES_CANCELED, NULL},
    {"25006", STORES_READ_ONLY,
     "a standby takes no writes, nor does a transaction with readonly = true, nor a session whose "
     "role"
     " or database has default_transaction_read_only = on"},
    /* raised by what a copy of databases leaves in them (lua/stores/shards/copy/marks.lua) */
    {"ST001", STORES_READ_ONLY, NULL},
    {"ST002", STORES_MOVED, NULL},
    {"25001", STORES_QUERY_FAILED,
     "what refuses transactions runs by a query with transaction = false, outside of one"},
    {"25P02", STORES_QUERY_FAILED,
     "what may fail goes into a savepoint, tx:transaction(fn), which the transaction survives"},
    {"25P03", STORES_CONNECTION_LOST, NULL},
    {"42P01", STORES_TABLE_NOT_FOUND, NULL},
    {"28", STORES_AUTH_FAILED, NULL},
    {"3D000", STORES_AUTH_FAILED, NULL},
    {"53300", STORES_CONNECT_FAILED, NULL},
    {"53100", STORES_SERVER_FULL, "make room on the disk of the server"},
    {"53", STORES_SERVER_FULL, NULL},
    {"08", STORES_CONNECTION_LOST, NULL},
    {"57P0", STORES_CONNECTION_LOST, NULL},
};

static stores_code code_of(const char *sqlstate, const char **hint) {
    size_t i;

    *hint = NULL;
    for (i = 0; i < sizeof sqlstates / sizeof *sqlstates; i++) {
        const char *prefix = sqlstates[i].prefix;
        if (strncmp(sqlstate, prefix, strlen(prefix)) != 0) continue;
        *hint = sqlstates[i].hint;
        return sqlstates[i].code;
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

/* A syntax error quotes where it is: between the quotation marks a literal begins or ends, which
 * may be a password. So may be what a program of COPY was called with. */
static bool quotes_literal(const char *sqlstate, const char *message) {
    const char *first, *last, *at, *dollar;
    size_t last_len;

    if (!find_quotes(message, &first, &last, &last_len)) return false;
    if (strcmp(sqlstate, "38000") == 0) return true;
    if (strcmp(sqlstate, "42601") != 0) return false;
    at = strchr(first, '\'');
    dollar = strchr(first, '$'); /* $1 is none */
    return (at && at < last) || (dollar && dollar < last && (dollar[1] < '0' || dollar[1] > '9'));
}

/* Whether what the server could not read as another type begins as a Lua table does when it is
 * sent. */
static bool was_json(const char *sqlstate, const char *message) {
    const char *first, *last;
    size_t last_len, start;

    if (strcmp(sqlstate, "22P02") != 0 || !find_quotes(message, &first, &last, &last_len)) {
        return false;
    }
    /* behind the quotation mark, which is longer in other languages, and may have a space behind
     * it */
    start = strcspn(first, "[{");
    return start <= 5 && first[start] != '\0';
}

static const char json_hint[] = "a Lua table is sent as JSON; for an array of PostgreSQL send its "
                                "text, as '{1,2}', or take the "
                                "JSON apart: = ANY (SELECT jsonb_array_elements_text($1)::bigint)";

/* ON CONFLICT names a key for which this state has no other reason (execIndexing.c). */
static bool was_deferrable(const char *sqlstate, const char *constraint) {
    return strcmp(sqlstate, "55000") == 0 && constraint && constraint[0];
}

void stores__error_from_pg(stores_error *e, const char *sqlstate, const char *message,
                           const char *detail, const char *hint, const char *constraint,
                           const char *table) {
    const char *own_hint;
    stores_code code;

    if (!sqlstate) sqlstate = "";
    if (!message) message = "the server gave no message";
    code = code_of(sqlstate, &own_hint);
    if (was_json(sqlstate, message)) own_hint = json_hint;
    if (was_deferrable(sqlstate, constraint)) {
        own_hint = "a key that is DEFERRABLE decides no conflict: make it NOT DEFERRABLE";
    }
    if (strncmp(sqlstate, "22", 2) == 0 || quotes_literal(sqlstate, message)) {
        if (code != STORES_INVALID_ARGUMENT || !set_blocked(e, message)) {
            set_without_value(e, code, message);
        }
        if (strcmp(e->message, message) != 0) {
            int room = (int)cut_at(message, strlen(message), sizeof e->detail - 1);
            char text[2 * sizeof e->detail];
            snprintf(text, sizeof text, "%.*s%s%.*s", room, message, detail ? "; " : "",
                     (int)sizeof e->detail - 8, detail ? detail : "");
            copy(e->detail, sizeof e->detail, text);
            detail = NULL;
        }
    } else {
        stores__error_set(e, code, "%s", message);
    }
    if (strcmp(sqlstate, "53100") == 0 || strcmp(sqlstate, "53400") == 0) e->retryable = false;
    copy(e->sqlstate, sizeof e->sqlstate, sqlstate);
    if (detail) copy(e->detail, sizeof e->detail, detail);
    copy(e->hint, sizeof e->hint, hint && hint[0] ? hint : own_hint);
    copy(e->constraint, sizeof e->constraint, constraint);
    copy(e->table, sizeof e->table, table);
}

/* ---- The statement --------------------------------------------------------------------------- */

static bool begins_character(char byte) {
    return ((unsigned char)byte & 0xC0) != 0x80;
}

/* The offset of a character that is counted from 1; of the end, where there are fewer. */
static size_t offset_of(const char *text, int position) {
    size_t at = 0;

    for (; text[at]; at++) {
        if (begins_character(text[at]) && --position == 0) break;
    }
    return at;
}

void stores__error_statement(stores_error *e, const char *sql) {
    size_t len = strlen(sql), room = sizeof e->statement - 1, from = 0, i;

    if (e->code == STORES_OK) return;
    if (len > room && e->position > 0) {
        size_t at = offset_of(sql, e->position);
        /* what led to the place tells more than what follows it */
        if (at > room / 4 * 3) from = at - room / 4 * 3;
        while (!begins_character(sql[from])) from++;
        for (i = 0; i < from; i++) e->position -= begins_character(sql[i]);
    }
    copy(e->statement, sizeof e->statement, sql + from);
}

static bool goes_on_in_name(char byte) {
    unsigned char c = (unsigned char)byte;

    return c >= 0x80 || isalnum(c) || (c != '\0' && strchr("_$.\"", c) != NULL);
}

bool stores__error_points_at(const stores_error *e, const char *text) {
    size_t len = strlen(text);

    if (e->position <= 0) return false;
    const char *at = e->statement + offset_of(e->statement, e->position);
    return strncmp(at, text, len) == 0 && !goes_on_in_name(at[len]);
}
