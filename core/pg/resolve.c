/* The names of the hosts as addresses, found off the loop: libpq itself would block it. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

#include "base/lookup.h"
#include "pg/params.h"

struct stores__pg_resolve {
    uv_loop_t *loop;
    const struct stores__pg_params *params;
    void (*done)(void *arg, struct stores__pg_target *target, const char *why); /* NULL: canceled */
    void *arg;
    int next; /* the host that is being resolved */
    struct stores__lookup *lookup; /* that is under way; NULL: none */
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
    target->expand_dbname = params->expand_dbname;
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

static void resolved(void *arg, struct addrinfo *list, const char *why) {
    struct stores__pg_resolve *r = arg;
    const struct stores__pg_host *host = &r->params->hosts[r->next];
    r->lookup = NULL;
    if (why != NULL) {
        snprintf(r->why, sizeof r->why, "cannot resolve the host name \"%s\": %s", host->name, why);
    }
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next) {
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
            r->lookup = stores__lookup(r->loop, host->name, resolved, r);
            if (r->lookup != NULL) return;
            snprintf(r->why, sizeof r->why, "cannot resolve \"%s\": no memory, or no thread",
                     host->name);
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
    if (r->lookup != NULL) stores__lookup_forget(r->lookup);
    r->lookup = NULL;
    if (!uv_is_closing((uv_handle_t *)&r->turn)) {
        uv_close((uv_handle_t *)&r->turn, resolve_freed);
    }
}
