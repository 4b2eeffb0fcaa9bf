/* life.c - how a link begins and ends; what lies between is in connect.c. */
#include "redis/internal.h"

static bool copy(const char **out, const char *text) {
    *out = text ? stores__strdup(text) : NULL;
    return !text || *out;
}

static void on_held(void *holder) {
    struct stores__redis *redis = holder;

    redis->handles++;
}

static void on_released(void *holder) {
    stores__redis_gone(holder);
}

static bool take_tls(struct stores__redis *redis, const struct stores__redis_config *config) {
    if (config->tls) redis->tls = stores__tls_context_new(config->tls);
    if (config->sentinel_tls) redis->sentinel_tls = stores__tls_context_new(config->sentinel_tls);
    return (redis->tls || !config->tls) && (redis->sentinel_tls || !config->sentinel_tls);
}

/* False: no memory, or a sentinel is no place. */
static bool take_sentinels(struct stores__redis *redis, const struct stores__redis_config *config) {
    struct stores__master_config master = {.sentinels = config->sentinels,
                                           .patience_ms = redis->config.connect_timeout_ms};
    struct stores__sentinel_terms terms = {.loop = redis->loop,
                                           .master = config->master,
                                           .username = config->sentinel_username,
                                           .password = config->sentinel_password,
                                           .tls = redis->sentinel_tls,
                                           .held = on_held,
                                           .released = on_released,
                                           .holder = redis};

    if (!config->sentinels) return true;
    redis->master = stores__master_new(&master, &terms, redis->timers, &stores__redis_master_hooks,
                                       redis);
    return redis->master != NULL;
}

static void fill_defaults(struct stores__redis_config *config) {
    if (config->port == 0) config->port = 6379;
    if (config->timeout_ms == 0) config->timeout_ms = 50;
    if (config->connect_timeout_ms == 0) config->connect_timeout_ms = 1000;
    if (config->keepalive_ms == 0) config->keepalive_ms = 30 * 1000;
    if (config->text_max == 0) config->text_max = (size_t)512 << 20;
}

struct stores__redis *stores__redis_open(uv_loop_t *loop, struct stores__timers *timers,
                                         const struct stores__redis_config *config,
                                         const struct stores__redis_hooks *hooks) {
    struct stores__redis *redis = calloc(1, sizeof *redis);
    struct stores__redis_config *own;

    if (!redis) return NULL;
    own = &redis->config;
    *own = *config;
    own->host = own->path = own->username = own->password = NULL;
    own->tls = own->sentinel_tls = NULL;
    own->sentinels = NULL; /* what follows is the master's */
    own->master = own->sentinel_username = own->sentinel_password = NULL;
    fill_defaults(own);
    redis->loop = loop;
    redis->timers = timers;
    redis->timer.fire = stores__redis_on_timer;
    redis->ping_chunk = stores__redis_chunk_new("PING");
    if (!redis->ping_chunk || !copy(&own->host, config->host ? config->host : "localhost") ||
        !copy(&own->path, config->path) || !copy(&own->username, config->username) ||
        !copy(&own->password, config->password) || !take_tls(redis, config) ||
        !take_sentinels(redis, config) || !stores__timer_set(timers, &redis->timer, UINT64_MAX)) {
        if (redis->master) stores__master_close(redis->master);
        stores__redis_free(redis);
        return NULL;
    }
    redis->next_turn = stores__redis_on_turn;
    redis->hooks = *hooks;
    redis->first = true;
    stores__list_init(&redis->pending);
    stores__list_init(&redis->dead);
    stores__redis_out_init(&redis->hello);
    stores__redis_out_init(&redis->out);
    uv_idle_init(loop, &redis->idle);
    uv_unref((uv_handle_t *)&redis->idle);
    uv_check_init(loop, &redis->check);
    uv_unref((uv_handle_t *)&redis->check);
    redis->handles = 2;
    stores__redis_attempt(redis);
    return redis;
}

static void on_idle_closed(uv_handle_t *handle) {
    struct stores__redis *redis = STORES__CONTAINER(handle, struct stores__redis, idle);

    stores__redis_fail_dead(redis);
    stores__redis_gone(redis);
}

static void on_check_closed(uv_handle_t *handle) {
    stores__redis_gone(STORES__CONTAINER(handle, struct stores__redis, check));
}

void stores__redis_deafen(struct stores__redis *redis, int deaf) {
    if (redis->socket != NULL) stores__redis_socket_deafen(redis->socket, deaf);
    if (redis->master != NULL) stores__master_deafen(redis->master, deaf);
}

void stores__redis_close(struct stores__redis *redis, void (*closed)(void *arg), void *arg) {
    assert(redis->state != STORES__REDIS_CLOSED);
    redis->state = STORES__REDIS_CLOSED;
    redis->closed = closed;
    redis->closed_arg = arg;
    stores__timer_stop(redis->timers, &redis->timer);
    stores__redis_forget_attempt(redis);
    if (redis->master) stores__master_close(redis->master);
    stores__redis_forget_requests(redis);
    if (redis->lookup) stores__lookup_forget(redis->lookup);
    redis->lookup = NULL;
    uv_close((uv_handle_t *)&redis->check, on_check_closed);
    uv_close((uv_handle_t *)&redis->idle, on_idle_closed);
}
