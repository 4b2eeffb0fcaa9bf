#include "pg/params.h"

#include <stdio.h>

#include "pg/hosts.h"
#include "pg/options.h"
#include "pg/session.h"
#include "pg/sources.h"
#include "pg/url.h"

/* Room for what is added to the user's keywords. */
enum { EXTRA_KEYS = 16 };

enum {
    IDLE_LEAST_MS = 15 * 1000, /* for who said no deadline; a program that is paused comes back */
    IDLE_GRACE_MS = 5 * 1000,
    IDLE_MOST_MS = INT32_MAX
};

enum { CONNECT_MS = 10 * 1000, STATEMENT_MS = 30 * 1000, HOUR_MS = 60 * 60 * 1000 };

static int find_key(const struct stores__pg_params *params, const char *key) {
    for (int i = 0; i < params->count; i++) {
        if (strcmp(params->keys[i], key) == 0) return i;
    }
    return -1;
}

static bool set_default(struct stores__pg_params *params, const char *key, const char *value) {
    if (find_key(params, key) >= 0) return true;
    char *k = stores__strdup(key), *v = stores__strdup(value);
    if (k == NULL || v == NULL) {
        free(k);
        free(v);
        return false;
    }
    params->keys[params->count] = k;
    params->values[params->count] = v;
    params->count++;
    params->keys[params->count] = params->values[params->count] = NULL;
    return true;
}

/* Takes a keyword out and returns its value, which is then the caller's; NULL: it is not there. */
static char *take(struct stores__pg_params *params, const char *key) {
    int i = find_key(params, key);
    if (i < 0) return NULL;
    char *value = params->values[i];
    free(params->keys[i]);
    params->count--;
    for (; i < params->count; i++) {
        params->keys[i] = params->keys[i + 1];
        params->values[i] = params->values[i + 1];
    }
    params->keys[i] = params->values[i] = NULL;
    return value;
}

/* Replaces what is there. */
static bool set(struct stores__pg_params *params, const char *key, const char *value) {
    free(take(params, key));
    return set_default(params, key, value);
}

/* An URL gives what the other keywords do not say. */
static bool expand_url(struct stores__pg_params *params, const char *url, stores_error *error) {
    PQconninfoOption *options = stores__pg_url_parse(url, error);
    if (options == NULL) return false;
    bool ok = true;
    for (PQconninfoOption *o = options; ok && o->keyword != NULL; o++) {
        if (o->val != NULL) ok = set_default(params, o->keyword, o->val);
    }
    PQconninfoFree(options);
    return ok || stores__pg_no_keywords(error);
}

static int known_keywords(void) {
    int count = 0;
    PQconninfoOption *options = PQconndefaults();
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) count++;
    PQconninfoFree(options);
    return count;
}

/* A socket that db names is what is connected to, whatever address PGHOSTADDR or a service have: a
 * private server is not to be another one. libpq takes "" for nothing where it is a keyword's
 * value, but not where it stands in the text that may be in the place of a database. */
static bool keep_to_sockets(struct stores__pg_params *params) {
    char *database = take(params, "dbname");
    struct stores__buf buf = {0};
    stores__buf_str(&buf, "hostaddr=''");
    if (database != NULL) stores__buf_str(&buf, " dbname='");
    for (const char *c = database ? database : ""; *c; c++) {
        if (*c == '\'' || *c == '\\') stores__buf_add(&buf, "\\", 1);
        stores__buf_add(&buf, c, 1);
    }
    if (database != NULL) stores__buf_str(&buf, "'");
    const char *text = stores__buf_text(&buf);
    params->expand_dbname = true;
    bool ok = text != NULL && set_default(params, "dbname", text);
    stores__buf_free(&buf);
    free(database);
    return ok;
}

/* ---- Sessions -------------------------------------------------------------------------------- */

/* One -c of the start-up options, whose words are parted by spaces. */
static void add_setting(struct stores__buf *buf, const char *name, const char *value) {
    stores__buf_fmt(buf, " -c %s=", name);
    for (; *value; value++) {
        if (*value == ' ' || *value == '\\') stores__buf_add(buf, "\\", 1);
        stores__buf_add(buf, value, 1);
    }
}

uint64_t stores__pg_idle_limit(uint64_t timeout_ms) {
    if (timeout_ms >= IDLE_MOST_MS - IDLE_GRACE_MS) return IDLE_MOST_MS;
    return (timeout_ms + 999) / 1000 * 1000 + IDLE_GRACE_MS;
}

/* Our defaults, then what the user says, in db, a service or PGOPTIONS, then what the engine relies
 * on. A transaction pooler refuses start-up options: there the user's go out as they are. */
static bool set_session_options(struct stores__pg_params *params, const stores_config *config,
                                const struct stores__pg_sources *sources) {
    if (config->transaction_pooler) return true;
    const char *user = stores__pg_word(sources, "options");
    struct stores__buf buf = {0};
    char timeout[24];
    char idle[24];
    snprintf(timeout, sizeof timeout, "%llu", (unsigned long long)params->statement_timeout_ms);
    snprintf(idle, sizeof idle, "%llu", (unsigned long long)params->idle_ms);
    add_setting(&buf, "idle_in_transaction_session_timeout", idle);
    if (config->statement_timeout_ms == 0) add_setting(&buf, "statement_timeout", timeout);
    if (user != NULL) stores__buf_fmt(&buf, " %s", user);
    if (config->statement_timeout_ms != 0) add_setting(&buf, "statement_timeout", timeout);
    /* what every program of an environment gets does not decide what a store is for */
    if (user != NULL && strstr(user, "default_transaction_read_only") != NULL &&
        stores__pg_source_of(sources, "options") == STORES__PG_ENVIRONMENT) {
        add_setting(&buf, "default_transaction_read_only", "off");
    }
#define PIN(name, value) add_setting(&buf, name, value);
    STORES__PG_PINS(PIN)
#undef PIN
    const char *text = stores__buf_text(&buf);
    bool ok = text != NULL && set(params, "options", text + 1);
    stores__buf_free(&buf);
    return ok;
}

/* A default holds where libpq finds no other word, in a service or its environment either. */
static bool add_default(struct stores__pg_params *params, const struct stores__pg_sources *sources,
                        const char *key, const char *value) {
    if (stores__pg_source_of(sources, key) != STORES__PG_NOBODY) return true;
    return set_default(params, key, value);
}

/* Of several hosts that may be standbys, a store with a cache means the primary, where it is not
 * told that a standby will do: a standby is late, and what it reads would be older than what others
 * were told. One that is preferred would always be taken, and nothing ever cached. */
static bool prefer_primary(struct stores__pg_params *params, const stores_config *config,
                           const struct stores__pg_sources *sources) {
    const char *wanted = stores__pg_word(sources, "target_session_attrs");
    bool several = params->host_count > 1 ||
                   (params->fixed_hostaddr != NULL && strchr(params->fixed_hostaddr, ',') != NULL);
    enum stores__pg_source source = stores__pg_source_of(sources, "target_session_attrs");
    bool said = wanted != NULL && source != STORES__PG_NOBODY && source != STORES__PG_ENVIRONMENT;
    if (config->no_cache || !several) return true;
    if (said && strcmp(wanted, "prefer-standby") != 0) return true;
    if (wanted != NULL && strcmp(wanted, "read-write") == 0) return true;
    return set(params, "target_session_attrs", PQlibVersion() >= 140000 ? "primary" : "read-write");
}

static bool set_defaults(struct stores__pg_params *params, const stores_config *config,
                         const struct stores__pg_sources *sources) {
    char user_timeout[24];
    snprintf(user_timeout, sizeof user_timeout, "%llu",
             (unsigned long long)params->statement_timeout_ms + 5000);
    params->verify_by_default = !stores__pg_hosts_all_local(params) &&
                                stores__pg_source_of(sources, "sslmode") == STORES__PG_NOBODY;
    /* a store that writes has no use for what PGTARGETSESSIONATTRS wants for programs that read */
    if (stores__pg_source_of(sources, "target_session_attrs") == STORES__PG_ENVIRONMENT) {
        const char *wanted = stores__pg_word(sources, "target_session_attrs");
        bool writes = strcmp(wanted, "primary") == 0 || strcmp(wanted, "read-write") == 0;
        if (!set_default(params, "target_session_attrs", writes ? wanted : "any")) return false;
    }
    return prefer_primary(params, config, sources) &&
           (!params->verify_by_default || set(params, "sslmode", "verify-full")) &&
           set(params, "client_encoding", "UTF8") &&
           add_default(params, sources, "gssencmode", "disable") &&
           add_default(params, sources, "fallback_application_name", "stores") &&
           add_default(params, sources, "keepalives_idle", "30") &&
           add_default(params, sources, "keepalives_interval", "5") &&
           add_default(params, sources, "keepalives_count", "3") &&
           add_default(params, sources, "tcp_user_timeout", user_timeout) &&
           set_session_options(params, config, sources);
}

/* What is said in db counts, then libpq's connect_timeout, for which 0 is no limit. */
static uint64_t connect_timeout(const stores_config *config,
                                const struct stores__pg_sources *sources) {
    if (config->connect_timeout_ms != 0) return config->connect_timeout_ms;
    const char *text = stores__pg_word(sources, "connect_timeout");
    if (text == NULL || *text == '\0') return CONNECT_MS;
    long seconds = strtol(text, NULL, 10);
    return seconds <= 0 || seconds > HOUR_MS / 1000 ? HOUR_MS : (uint64_t)seconds * 1000;
}

/* As libpq reads them, which does so when it has connected, or not at all. */
static bool is_number(const char *text) {
    char *end;
    long number = strtol(text, &end, 10);
    while (*end == ' ' || (*end >= '\t' && *end <= '\r')) end++;
    return end != text && *end == '\0' && number >= INT32_MIN && number <= INT32_MAX;
}

static bool check_numbers(const struct stores__pg_sources *sources, stores_error *error) {
    static const char *const keys[] = {"connect_timeout",  "keepalives",
                                       "keepalives_idle",  "keepalives_interval",
                                       "keepalives_count", "tcp_user_timeout"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = stores__pg_word(sources, keys[i]);
        if (text == NULL || *text == '\0' || is_number(text)) continue;
        stores__error_set(error, STORES_INVALID_OPTION, "%s must be a whole number", keys[i]);
        return false;
    }
    return true;
}

/* What no store can work with, and what libpq would find out only when it has connected. */
static bool check_words(const struct stores__pg_sources *sources, stores_error *error) {
    static const char *const attrs[] = {"any",     "read-write", "read-only",
                                        "primary", "standby",    "prefer-standby"};
    const char *wanted = stores__pg_word(sources, "target_session_attrs");
    const char *replication = stores__pg_word(sources, "replication");
    bool known = wanted == NULL;
    for (size_t i = 0; i < sizeof attrs / sizeof *attrs; i++) {
        known = known || strcmp(wanted, attrs[i]) == 0;
    }
    if (stores__pg_source_of(sources, "dbname") == STORES__PG_NOBODY) {
        stores__error_set(error, STORES_INVALID_OPTION, "no database is named");
    } else if (!known) {
        stores__error_set(error, STORES_INVALID_OPTION, "invalid target_session_attrs value");
    } else if (replication != NULL && *replication != '\0') {
        stores__error_set(error, STORES_INVALID_OPTION,
                          "replication is no connection that a store could use");
    } else {
        return check_numbers(sources, error);
    }
    return false;
}

static bool read_sources(struct stores__pg_params *params, const stores_config *config,
                         const struct stores__pg_sources *sources, stores_error *error) {
    const char *hostaddr = stores__pg_word(sources, "hostaddr");
    const char *hosts = stores__pg_word(sources, "host"), *ports = stores__pg_word(sources, "port");
    if (!check_words(sources, error)) return false;
    /* these are added at each attempt to connect, with addresses */
    free(take(params, "host"));
    free(take(params, "hostaddr"));
    free(take(params, "port"));
    params->connect_timeout_ms = connect_timeout(config, sources);
    params->statement_timeout_ms = config->statement_timeout_ms ? config->statement_timeout_ms
                                                                : STATEMENT_MS;
    params->idle_ms = stores__pg_idle_limit(config->timeout_ms);
    if (params->idle_ms < IDLE_LEAST_MS) params->idle_ms = IDLE_LEAST_MS;
    bool sockets = hosts != NULL && stores__pg_hosts_are_sockets(hosts) &&
                   stores__pg_source_of(sources, "host") == STORES__PG_CALLER &&
                   stores__pg_source_of(sources, "hostaddr") != STORES__PG_CALLER;
    if (sockets && hostaddr != NULL) {
        if (!keep_to_sockets(params)) return stores__pg_no_keywords(error);
    } else if (hostaddr != NULL && *hostaddr != '\0') {
        params->fixed_hostaddr = stores__strdup(hostaddr);
        if (params->fixed_hostaddr == NULL) return stores__pg_no_keywords(error);
    }
    if (!stores__pg_hosts_read(params, hosts ? hosts : "", ports ? ports : "", error)) return false;
    return set_defaults(params, config, sources) || stores__pg_no_keywords(error);
}

bool stores__pg_params_read(struct stores__pg_params *params, const stores_config *config,
                            stores_error *error) {
    memset(params, 0, sizeof *params);
    int given = 0;
    while (config->pg_keys != NULL && config->pg_keys[given] != NULL) given++;
    size_t room = (size_t)(given + known_keywords() + EXTRA_KEYS);
    params->keys = calloc(room, sizeof *params->keys);
    params->values = calloc(room, sizeof *params->values);
    bool ok = params->keys != NULL && params->values != NULL;
    for (int i = 0; ok && i < given; i++) {
        if (config->pg_values[i] != NULL) {
            ok = set_default(params, config->pg_keys[i], config->pg_values[i]);
        }
    }
    if (!ok) return stores__pg_no_keywords(error);
    char *url = take(params, "url");
    if (url != NULL) {
        ok = expand_url(params, url, error);
        free(url);
        if (!ok) return false;
    }
    /* libpq's keys are read again at each connection, so that a service may change its password */
    struct stores__pg_sources sources;
    ok = stores__pg_sources_read(&sources, (const char *const *)params->keys,
                                 (const char *const *)params->values, error) &&
         read_sources(params, config, &sources, error);
    stores__pg_sources_free(&sources);
    return ok;
}

bool stores__pg_params_no_idle_limit(struct stores__pg_params *params) {
    int i = find_key(params, "options");
    if (params->no_idle_limit || i < 0) return false;
    struct stores__buf buf = {0};
    stores__buf_str(&buf, params->values[i]);
    add_setting(&buf, "idle_session_timeout", "0");
    const char *text = stores__buf_text(&buf);
    params->no_idle_limit = text != NULL && set(params, "options", text);
    stores__buf_free(&buf);
    return params->no_idle_limit;
}

bool stores__pg_params_unoption(struct stores__pg_params *params) {
    char *options = take(params, "options");
    if (options == NULL) return false;
    params->settings = stores__pg_options_sql(options);
    if (params->settings == NULL) {
        set_default(params, "options", options);
    }
    free(options);
    return params->settings != NULL;
}

void stores__pg_params_free(struct stores__pg_params *params) {
    for (int i = 0; i < params->count; i++) {
        free(params->keys[i]);
        free(params->values[i]);
    }
    free(params->keys);
    free(params->values);
    stores__pg_hosts_free(params);
    free(params->fixed_hostaddr);
    free(params->settings);
    memset(params, 0, sizeof *params);
}
