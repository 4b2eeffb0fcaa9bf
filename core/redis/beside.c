/*
 * beside.c - a link that is one of several, to the nodes of a cluster: it is opened like another
 * one, and a request that one node did not do is handed over to the link of the node that will.
 */
#include "redis/internal.h"
#include "redis/tls.h"

#define HANDED_MAX 4 /* times, where nodes disagree about who has a slot */

static struct stores__redis *open_like(const struct stores__redis *other,
                                       struct stores__redis_config *config,
                                       const struct stores__redis_hooks *hooks) {
    if (other->tls) config->tls = stores__tls_context_config(other->tls);
    return stores__redis_open(other->loop, other->timers, config, hooks);
}

struct stores__redis *stores__redis_open_same(const struct stores__redis *other,
                                              const struct stores__redis_hooks *hooks) {
    struct stores__redis_config config = other->config;

    return open_like(other, &config, hooks);
}

bool stores__redis_same_place(const struct stores__redis *one, const struct stores__redis *other) {
    if (one->config.path != NULL || other->config.path != NULL) {
        return one->config.path != NULL && other->config.path != NULL &&
               strcmp(one->config.path, other->config.path) == 0;
    }
    return one->config.port == other->config.port &&
           strcmp(one->config.host, other->config.host) == 0;
}

struct stores__redis *stores__redis_open_beside(const struct stores__redis *other, const char *host,
                                                int port, const struct stores__redis_hooks *hooks) {
    struct stores__redis_config config = other->config;

    config.host = host;
    config.port = port;
    config.path = NULL;
    return open_like(other, &config, hooks);
}

static void asked(struct stores__redis_req *req, struct redisReply **reply) {
    (void)reply; /* what was asked for fails by itself */
    free(req);
}

/* The next command may be about keys of a slot that this server is about to get. */
static bool ask_first(struct stores__redis *redis) {
    static const char *const words[] = {"ASKING"};
    static const size_t lens[] = {6};
    struct stores__redis_req *req = calloc(1, sizeof *req);

    if (req == NULL) return false;
    req->done = asked;
    if (stores__redis_send(redis, req, 1, words, lens)) return true;
    free(req);
    return false;
}

bool stores__redis_hand_over(struct stores__redis *from, struct stores__redis *to,
                             struct stores__redis_req *req, bool asking) {
    if (req->script == NULL || !req->script->follows || req->handed_over >= HANDED_MAX)
        return false;
    if (to->state == STORES__REDIS_CLOSED) return false;
    if (!stores__redis_takes(to)) {
        from->count--;
        stores__redis_die(to, req);
        return true;
    }
    if ((asking && !ask_first(to)) || !stores__redis_resend(to, req)) return false;
    req->handed_over++;
    from->count--;
    to->count++;
    return true;
}
