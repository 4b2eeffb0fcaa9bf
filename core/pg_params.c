#include "pg_params.h"

#include <libpq-fe.h>
#include <stdio.h>

/* Room for the defaults that are added to the user's keywords. */
enum { EXTRA_KEYS = 16 };

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

/* An URL gives what the other keywords do not say. */
static bool expand_url(struct stores__pg_params *params, const char *url, stores_error *error) {
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(url, &why);
    if (options == NULL) {
        /* libpq's text may quote the URL, and with it the password */
        PQfreemem(why);
        stores__error_set(error, STORES_INVALID_OPTION, "the url of PostgreSQL cannot be read");
        return false;
    }
    bool ok = true;
    for (PQconninfoOption *o = options; ok && o->keyword != NULL; o++) {
        if (o->val != NULL) ok = set_default(params, o->keyword, o->val);
    }
    PQconninfoFree(options);
    if (!ok) stores__error_set(error, STORES_NO_MEMORY, "no memory for the url");
    return ok;
}

static int known_keywords(void) {
    int count = 0;
    PQconninfoOption *options = PQconndefaults();
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) count++;
    PQconninfoFree(options);
    return count;
}

/* What libpq itself would use where nobody said anything (PGHOST and the like). */
static char *default_of(const char *key) {
    char *value = NULL;
    PQconninfoOption *options = PQconndefaults();
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (strcmp(o->keyword, key) == 0 && o->val != NULL) value = stores__strdup(o->val);
    }
    PQconninfoFree(options);
    return value;
}

static bool is_local(const char *host) {
    return host[0] == '\0' || host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0 ||
           strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* The i-th element of a comma list; the last one stands for all after it where it is alone. */
static char *element(const char *list, int index, bool repeat_single) {
    const char *start = list;
    if (repeat_single && strchr(list, ',') == NULL) index = 0;
    for (; index > 0; index--) {
        start = strchr(start, ',');
        if (start == NULL) return stores__strdup("");
        start++;
    }
    return stores__memdup(start, strcspn(start, ","));
}

static bool read_hosts(struct stores__pg_params *params, stores_error *error) {
    char *hosts = take(params, "host");
    char *ports = take(params, "port");
    if (hosts == NULL && params->fixed_hostaddr == NULL) hosts = default_of("host");
    if (ports == NULL) ports = default_of("port");
    int count = 1;
    for (const char *c = hosts ? hosts : ""; *c; c++) count += *c == ',';
    params->hosts = calloc((size_t)count, sizeof *params->hosts);
    bool ok = params->hosts != NULL;
    for (int i = 0; ok && i < count; i++) {
        struct stores__pg_host *host = &params->hosts[i];
        host->name = element(hosts ? hosts : "", i, false);
        host->port = element(ports ? ports : "", i, true);
        params->host_count = i + 1;
        ok = host->name != NULL && host->port != NULL;
        if (ok) host->local = is_local(host->name);
    }
    free(hosts);
    free(ports);
    if (!ok) stores__error_set(error, STORES_NO_MEMORY, "no memory for the hosts");
    return ok;
}

static bool all_local(const struct stores__pg_params *params) {
    if (params->fixed_hostaddr != NULL) return is_local(params->fixed_hostaddr);
    for (int i = 0; i < params->host_count; i++) {
        if (!params->hosts[i].local) return false;
    }
    return true;
}

/* A session starts with what the engine relies on: read committed, for a server whose default is
 * repeatable read would make fills stale, and limits for a transaction that nobody attends. A
 * transaction pooler refuses start-up options; there SET LOCAL does the same. */
static bool set_session_options(struct stores__pg_params *params, const stores_config *config) {
    if (config->transaction_pooler) return true;
    char *user = take(params, "options");
    struct stores__buf buf = {0};
    stores__buf_fmt(&buf,
                    "-c default_transaction_isolation=read\\ committed "
                    "-c idle_in_transaction_session_timeout=15000 -c statement_timeout=%llu "
                    "-c client_encoding=UTF8 %s",
                    (unsigned long long)config->statement_timeout_ms, user ? user : "");
    free(user);
    const char *text = stores__buf_text(&buf);
    bool ok = text != NULL && set_default(params, "options", text);
    stores__buf_free(&buf);
    return ok;
}

static bool set_defaults(struct stores__pg_params *params, const stores_config *config) {
    char user_timeout[24];
    snprintf(user_timeout, sizeof user_timeout, "%llu",
             (unsigned long long)config->statement_timeout_ms + 5000);
    params->verify_by_default = find_key(params, "sslmode") < 0 && !all_local(params);
    return set_default(params, "sslmode", params->verify_by_default ? "verify-full" : "prefer") &&
           set_default(params, "gssencmode", "disable") &&
           set_default(params, "application_name", "stores") &&
           set_default(params, "keepalives_idle", "30") &&
           set_default(params, "keepalives_interval", "5") &&
           set_default(params, "keepalives_count", "3") &&
           set_default(params, "tcp_user_timeout", user_timeout) &&
           set_session_options(params, config);
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
    if (!ok) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the connection's keywords");
        return false;
    }
    char *url = take(params, "url");
    if (url != NULL) {
        ok = expand_url(params, url, error);
        free(url);
        if (!ok) return false;
    }
    params->fixed_hostaddr = take(params, "hostaddr");
    if (!read_hosts(params, error)) return false;
    if (!set_defaults(params, config)) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for the connection's keywords");
        return false;
    }
    return true;
}

void stores__pg_params_free(struct stores__pg_params *params) {
    for (int i = 0; i < params->count; i++) {
        free(params->keys[i]);
        free(params->values[i]);
    }
    free(params->keys);
    free(params->values);
    for (int i = 0; i < params->host_count; i++) {
        free(params->hosts[i].name);
        free(params->hosts[i].port);
    }
    free(params->hosts);
    free(params->fixed_hostaddr);
    memset(params, 0, sizeof *params);
}
