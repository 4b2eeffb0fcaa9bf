/* sources.c - see sources.h. */
#include "pg/sources.h"

/* libpq reads every source, and checks what it found, before it connects: an attempt with one value
 * that it refuses ends there, with all that it read in the connection's own list. The value stands
 * in libpq's message, whatever its language, where nothing else was wrong. */
static const char refused_value[] = "refused-by-stores";

static PGconn *attempt(const char *const *given_keys, const char *const *given_values,
                       const char *refused) {
    size_t given = 0, n = 0;
    while (given_keys[given] != NULL) given++;
    const char **keys = calloc((given + 3) * 2, sizeof *keys);
    if (keys == NULL) return NULL;
    const char **values = keys + given + 3;
    for (; n < given; n++) {
        keys[n] = given_keys[n];
        values[n] = given_values[n];
    }
    /* without it libpq looks into ~/.pgpass, and warns of its mode each time */
    keys[n] = "password";
    values[n++] = "-";
    keys[n] = refused;
    values[n] = refused_value;
    PGconn *conn = PQconnectStartParams(keys, values, 0);
    free(keys);
    return conn;
}

bool stores__pg_no_keywords(stores_error *error) {
    stores__error_set(error, STORES_NO_MEMORY, "no memory for the connection's keywords");
    return false;
}

/* What libpq says against it, but for the keyword that is looked at by itself. */
static bool check(const char *const *keys, const char *const *values, stores_error *error) {
    PGconn *conn = attempt(keys, values, "target_session_attrs");
    if (conn == NULL) return stores__pg_no_keywords(error);
    const char *text = PQerrorMessage(conn);
    bool ok = strstr(text, refused_value) != NULL;
    if (!ok)
        stores__error_set(error, STORES_INVALID_OPTION, "%.*s", (int)strcspn(text, "\n"), text);
    PQfinish(conn);
    return ok;
}

bool stores__pg_sources_read(struct stores__pg_sources *sources, const char *const *keys,
                             const char *const *values, stores_error *error) {
    memset(sources, 0, sizeof *sources);
    if (!check(keys, values, error)) return false;
    PGconn *conn = attempt(keys, values, "channel_binding");
    sources->words = conn ? PQconninfo(conn) : NULL;
    PQfinish(conn);
    if (sources->words == NULL) return stores__pg_no_keywords(error);
    sources->service = getenv("PGSERVICE");
    for (int k = 0; keys[k] != NULL; k++) {
        if (strcmp(keys[k], "service") == 0 && values[k][0] != '\0') sources->service = values[k];
    }
    size_t count = 0;
    while (sources->words[count].keyword != NULL) count++;
    sources->given = calloc(count + 1, sizeof *sources->given);
    if (sources->given == NULL) return stores__pg_no_keywords(error);
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; keys[k] != NULL; k++) {
            if (strcmp(keys[k], sources->words[i].keyword) != 0) continue;
            sources->given[i] = values[k][0] != '\0'; /* libpq takes "" for nothing */
        }
    }
    return true;
}

void stores__pg_sources_free(struct stores__pg_sources *sources) {
    PQconninfoFree(sources->words);
    free(sources->given);
    memset(sources, 0, sizeof *sources);
}

static const PQconninfoOption *find(const struct stores__pg_sources *sources, const char *key) {
    const PQconninfoOption *word = sources->words;
    while (word != NULL && word->keyword != NULL && strcmp(word->keyword, key) != 0) word++;
    return word != NULL && word->keyword != NULL ? word : NULL;
}

const char *stores__pg_word(const struct stores__pg_sources *sources, const char *key) {
    const PQconninfoOption *word = find(sources, key);
    return word ? word->val : NULL;
}

static bool same(const char *a, const char *b) {
    return strcmp(a ? a : "", b ? b : "") == 0;
}

enum stores__pg_source stores__pg_source_of(const struct stores__pg_sources *sources,
                                            const char *key) {
    const PQconninfoOption *word = find(sources, key);
    if (word == NULL || word->val == NULL) return STORES__PG_NOBODY;
    if (sources->given[word - sources->words]) return STORES__PG_CALLER;
    if (sources->service != NULL && stores__pg_service_says(sources->service, key)) {
        return STORES__PG_SERVICE;
    }
    const char *environment = word->envvar ? getenv(word->envvar) : NULL;
    if (environment != NULL && strcmp(environment, word->val) == 0) return STORES__PG_ENVIRONMENT;
    /* a database has the user's name where nobody names one */
    bool from_user = strcmp(key, "dbname") == 0 &&
                     same(word->val, stores__pg_word(sources, "user"));
    if (same(word->val, word->compiled) || from_user) return STORES__PG_NOBODY;
    return sources->service != NULL ? STORES__PG_SERVICE : STORES__PG_ENVIRONMENT;
}
