#include "base/worker.h"

/* Citus writes them in English in every language of the server. */
static const char from_worker[] = "while executing command on ";
static const char unreachable[] = "connection to the remote node ";

/* libpq's words of a connection that is gone, which Citus passes on without a SQLSTATE. */
static const char *const losses[] = {
    "server closed the connection", "no connection to the server", "could not receive data",
    "could not send data",          "connection not open",         "connection to server",
    "SSL connection has been",
};

static bool is_from_worker(const char *context) {
    return context != NULL && strstr(context, from_worker) != NULL;
}

static bool begins(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

bool stores__worker_lost(const char *sqlstate, const char *message, const char *context) {
    if (message == NULL) return false;
    if (strncmp(sqlstate, "08", 2) == 0 && strcmp(sqlstate, "08P01") != 0) {
        return begins(message, unreachable) || is_from_worker(context);
    }
    if (strcmp(sqlstate, "XX000") != 0 || !is_from_worker(context)) return false;
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        if (begins(message, losses[i])) return true;
    }
    return false;
}

/* ---- Names ----------------------------------------------------------------------------------- */

enum {
    NAME_MAX_LEN = 63, /* of PostgreSQL */
    LEAST_DIGITS = 6 /* of a shard's number: they begin at 102008 */
};

/* The quotation marks of the server's translations, and the space inside of the French ones. */
static const char *const marks[] = {"\"", "«", "»", "„", "“", "”"};
static const char space[] = "\xC2\xA0";

static size_t mark_at(const char *text) {
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (begins(text, marks[i])) return strlen(marks[i]);
    }
    return 0;
}

/* The next quoted name of a text, into name. Returns what is behind it; NULL: there is none. */
static const char *next_name(const char *at, char name[NAME_MAX_LEN + 1]) {
    size_t len = 0, mark;
    while (*at != '\0' && (mark = mark_at(at)) == 0) at++;
    if (*at == '\0') return NULL;
    at += mark;
    if (begins(at, space)) at += sizeof space - 1;
    while (at[len] != '\0' && (mark = mark_at(at + len)) == 0) len++;
    const char *end = at + len + mark;
    if (at[len] == '\0') return NULL;
    if (len >= 2 && memcmp(at + len - 2, space, 2) == 0) len -= 2;
    if (len > NAME_MAX_LEN) return NULL;
    memcpy(name, at, len);
    name[len] = '\0';
    return end;
}

bool stores__worker_unsuffix(char *name) {
    size_t len = strlen(name), digits = 0;
    while (digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9') digits++;
    if (digits < LEAST_DIGITS || digits + 1 >= len || name[len - digits - 1] != '_') return false;
    bool cut = len == NAME_MAX_LEN; /* the end of the name is that of a hash of the whole one */
    name[len - digits - 1] = '\0';
    return !cut;
}

static void keep(char *out, size_t size, char *name) {
    size_t len = strlen(name);
    if (len < size) memcpy(out, name, len + 1);
}

static void keep_table(stores_error *error, char *name) {
    if (stores__worker_unsuffix(name)) keep(error->table, sizeof error->table, name);
}

/* The names of checks are the same on each shard; those of keys and of indexes have its number. */
void stores__worker_names(stores_error *error, const char *message, const char *context) {
    char names[3][NAME_MAX_LEN + 1];
    size_t count = 0;
    if (strncmp(error->sqlstate, "23", 2) != 0 || error->constraint[0] != '\0' ||
        error->table[0] != '\0' || message == NULL || !is_from_worker(context)) {
        return;
    }
    for (const char *at = message; count < 3 && (at = next_name(at, names[count])) != NULL;) {
        count++;
    }
    if (count == 0) return;
    const char *state = error->sqlstate;
    char *constraint = NULL;
    if (strcmp(state, "23505") == 0 || strcmp(state, "23P01") == 0) {
        constraint = names[0];
    } else if (strcmp(state, "23503") == 0 && count > 1) {
        constraint = names[1];
        keep_table(error, names[count > 2 ? 2 : 0]);
    } else if (strcmp(state, "23514") == 0 && count > 1) {
        keep_table(error, names[0]);
        keep(error->constraint, sizeof error->constraint, names[1]);
    } else if (strcmp(state, "23502") == 0 && count > 1) {
        keep_table(error, names[1]);
    }
    if (constraint != NULL && stores__worker_unsuffix(constraint)) {
        keep(error->constraint, sizeof error->constraint, constraint);
    }
}
