#include "pg_params.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>

#include "threads.h"

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

/* ---- Resolving ------------------------------------------------------------------------------ */

struct stores__pg_resolve {
    uv_loop_t *loop;
    const struct stores__pg_params *params;
    void (*done)(void *arg, struct stores__pg_target *target, const char *why); /* NULL: canceled */
    void *arg;
    int next; /* the host that is being resolved */
    bool asked; /* libuv has the request */
    uv_getaddrinfo_t request;
    uv_timer_t turn; /* the answer comes from the loop also where nothing had to be resolved */
    struct stores__buf hosts, addresses, ports;
    char why[256]; /* which name cannot be resolved; the last one of several */
    int found, attempt;
};

void stores__pg_target_free(struct stores__pg_target *target) {
    if (target == NULL) return;
    free(target->host);
    free(target->hostaddr);
    free(target->port);
    free(target->unresolved);
    free(target->keys);
    free(target->values);
    free(target);
}

/* The list in the buffer, beginning with its element number `first`. NULL: no memory. */
static char *owned_list(struct stores__buf *buf, int first) {
    const char *text = stores__buf_text(buf), *start = text;
    if (text == NULL) return NULL;
    for (; first > 0; first--) start = strchr(start, ',') + 1;
    char *list = stores__strdup(start);
    if (list == NULL || start == text) return list;
    struct stores__buf whole = {0};
    stores__buf_fmt(&whole, "%s,%.*s", list, (int)(start - text) - 1, text);
    free(list);
    const char *rotated = stores__buf_text(&whole);
    list = rotated ? stores__strdup(rotated) : NULL;
    stores__buf_free(&whole);
    return list;
}

static struct stores__pg_target *make_target(struct stores__pg_resolve *r) {
    const struct stores__pg_params *params = r->params;
    struct stores__pg_target *target = calloc(1, sizeof *target);
    if (target == NULL) return NULL;
    size_t room = (size_t)params->count + 4;
    target->keys = calloc(room, sizeof *target->keys);
    target->values = calloc(room, sizeof *target->values);
    /* libpq tries one after the other, and the first may swallow all the time that there is */
    int first = params->fixed_hostaddr ? 0 : r->attempt % r->found;
    target->host = owned_list(&r->hosts, first);
    target->hostaddr = params->fixed_hostaddr ? stores__strdup(params->fixed_hostaddr)
                                              : owned_list(&r->addresses, first);
    target->port = owned_list(&r->ports, first);
    target->unresolved = stores__strdup(r->why);
    target->verify_by_default = params->verify_by_default;
    if (!target->keys || !target->values || !target->host || !target->hostaddr || !target->port ||
        !target->unresolved) {
        stores__pg_target_free(target);
        return NULL;
    }
    int n = 0;
    for (; n < params->count; n++) {
        target->keys[n] = params->keys[n];
        target->values[n] = params->values[n];
    }
    const char *keys[] = {"host", "hostaddr", "port"};
    const char *values[] = {target->host, target->hostaddr, target->port};
    for (int i = 0; i < 3; i++) {
        if (values[i][0] == '\0') continue;
        target->keys[n] = keys[i];
        target->values[n++] = values[i];
    }
    return target;
}

static void resolve_freed(uv_handle_t *handle) {
    struct stores__pg_resolve *r = handle->data;
    stores__buf_free(&r->hosts);
    stores__buf_free(&r->addresses);
    stores__buf_free(&r->ports);
    free(r);
}

static void finish(struct stores__pg_resolve *r) {
    if (r->done != NULL) {
        struct stores__pg_target *target = NULL;
        const char *why = r->why;
        if (r->found > 0) {
            target = make_target(r);
            if (target == NULL) why = "no memory";
        }
        r->done(r->arg, target, target ? NULL : why);
        r->done = NULL;
    }
    uv_close((uv_handle_t *)&r->turn, resolve_freed);
}

static void add_address(struct stores__pg_resolve *r, const char *host, const char *address,
                        const char *port) {
    const char *comma = r->found++ > 0 ? "," : "";
    stores__buf_fmt(&r->hosts, "%s%s", comma, host);
    stores__buf_fmt(&r->addresses, "%s%s", comma, address);
    stores__buf_fmt(&r->ports, "%s%s", comma, port);
}

static void resolve_next(struct stores__pg_resolve *r);

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list) {
    struct stores__pg_resolve *r = request->data;
    const struct stores__pg_host *host = r->done ? &r->params->hosts[r->next] : NULL;
    r->asked = false;
    if (host != NULL && status != 0) {
        snprintf(r->why, sizeof r->why, "cannot resolve the host name \"%s\": %s", host->name,
                 uv_strerror(status));
    }
    for (struct addrinfo *a = list; host != NULL && a != NULL; a = a->ai_next) {
        char text[64];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
            0) {
            add_address(r, host->name, text, host->port);
        }
    }
    uv_freeaddrinfo(list);
    r->next++;
    resolve_next(r);
}

static bool is_numeric(const char *name) {
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static void resolve_next(struct stores__pg_resolve *r) {
    while (r->done != NULL && r->next < r->params->host_count) {
        const struct stores__pg_host *host = &r->params->hosts[r->next];
        if (r->params->fixed_hostaddr || host->name[0] == '\0' || host->name[0] == '/' ||
            host->name[0] == '@') {
            add_address(r, host->name, "", host->port);
        } else if (is_numeric(host->name)) {
            add_address(r, host->name, host->name, host->port);
        } else {
            struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
            r->request.data = r;
            stores__threads_used();
            int rc = uv_getaddrinfo(r->loop, &r->request, resolved, host->name, NULL, &hints);
            if (rc == 0) {
                r->asked = true;
                return;
            }
            snprintf(r->why, sizeof r->why, "cannot resolve \"%s\": %s", host->name,
                     uv_strerror(rc));
        }
        r->next++;
    }
    finish(r);
}

static void resolve_turn(uv_timer_t *turn) {
    resolve_next(turn->data);
}

struct stores__pg_resolve *
stores__pg_resolve(uv_loop_t *loop, const struct stores__pg_params *params, int attempt,
                   void (*done)(void *arg, struct stores__pg_target *t, const char *why),
                   void *arg) {
    struct stores__pg_resolve *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->loop = loop;
    r->params = params;
    r->attempt = attempt;
    r->done = done;
    r->arg = arg;
    uv_timer_init(loop, &r->turn);
    r->turn.data = r;
    uv_timer_start(&r->turn, resolve_turn, 0, 0);
    return r;
}

void stores__pg_resolve_cancel(struct stores__pg_resolve *r) {
    r->done = NULL;
    if (r->asked) {
        uv_cancel((uv_req_t *)&r->request);
    } else if (!uv_is_closing((uv_handle_t *)&r->turn)) {
        uv_close((uv_handle_t *)&r->turn, resolve_freed);
    }
}
