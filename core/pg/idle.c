/*
 * Connections that nobody uses: how long they stay, whether they still live, and whether their
 * database still says of itself what it said when they were opened. They are looked at when one is
 * to be granted, for a loop that did not turn (a plain script, a process that was
 * stopped) ran no timer meanwhile; and from time to time, so that a pool that is left alone
 * shrinks.
 */
#include "pg/pool_internal.h"

enum {
    PING_PATIENCE_MS = 5 * 1000, /* how long a connection may take to say that it lives */
    PING_LOOKS = 2, /* looks at those beside the pool, REAP_MS apart at most */
    REAP_MS = 5 * 1000,
    RENEW_MS = 1000 /* not more often, for a server that takes no writes at all */
};

static struct stores__pg_conn *conn_at(struct stores__list *at) {
    return STORES__CONTAINER(at, struct stores__pg_conn, link);
}

/* When it was known to live. */
static uint64_t heard_at(const struct stores__pg_conn *conn) {
    return conn->pinged_at > conn->idle_since ? conn->pinged_at : conn->idle_since;
}

static void took_pong(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, ping);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error)) {
        conn->is_another = !stores__pg_shard_holds(&conn->shard, result);
    } else {
        conn->is_another = error.code != STORES_OK; /* its table is gone, or may not be read */
    }
    stores__pg_result_free(result);
}

/* The database says something else by now: all go, and new connections look whether it is what is
 * meant. Those that nobody uses go at once, for cached reads are right as long as one is open. */
static void renew_all(struct stores__pg_pool *pool) {
    stores__pg_pool_renew(pool, UINT64_MAX);
    stores__timer_set(pool->timers, &pool->reaper, uv_now(pool->loop));
}

static void ponged(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_conn *conn = STORES__CONTAINER(req, struct stores__pg_conn, ping);
    struct stores__pg_pool *pool = conn->pool;
    if (end != STORES__PG_SYNCED) return;
    conn->pinged_at = uv_now(pool->loop);
    if (conn->is_another && !pool->closing) renew_all(pool);
    pool->serve(pool);
}

void stores__pool_ping(struct stores__pg_conn *conn) {
    struct stores__buf sql = {0};
    conn->pinged_at = uv_now(conn->pool->loop);
    conn->silent = 0;
    conn->is_another = false;
    conn->ping.result = NULL;
    conn->ping.done = ponged;
    if (!conn->common->shard.any) {
        stores__pg_shard_ask(&conn->shard, &sql);
        conn->ping.result = took_pong;
        conn->pool->looked_at = conn->pinged_at;
    }
    const char *text = stores__buf_text(&sql);
    if (text == NULL || sql.len == 0) {
        conn->ping.result = NULL;
        text = "SELECT 1";
    }
    stores__pg_begin(conn, &conn->ping);
    stores__pg_add(conn, &conn->ping, text, 0, NULL, false);
    stores__pg_sync(conn, &conn->ping);
    stores__buf_free(&sql);
}

/* Nobody has seen for so long what the database says. */
static bool look_is_due(const struct stores__pg_pool *pool, unsigned times) {
    return !pool->common.shard.any && uv_now(pool->loop) >= pool->looked_at + times * pool->ping_ms;
}

void stores__pool_look_busy(struct stores__pg_conn *conn) {
    if (look_is_due(conn->pool, 2) && conn->in_flight == 0) stores__pool_ping(conn);
}

/* Connections that are used live, but do not look. */
static void look_around(struct stores__pg_pool *pool) {
    struct stores__pg_conn *conn = look_is_due(pool, 1) ? stores__pool_first_free(pool) : NULL;
    /* lanes that are never without work are not given back */
    if (conn == NULL && look_is_due(pool, 2)) conn = stores__pool_lane(pool, NULL);
    if (conn != NULL) stores__pool_ping(conn);
}

int stores__pool_asked(const struct stores__pg_pool *pool) {
    int count = 0;
    const struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->next; at != idle; at = at->next) {
        const struct stores__pg_conn *conn = conn_at(at);
        count += conn->in_flight > 0 && conn->silent < STORES__POOL_SILENT_LOOKS &&
                 stores__pg_is_up(conn);
    }
    return count;
}

/* Too old, idle for too long, or silent when it was asked. */
static bool is_spent(const struct stores__pg_conn *conn, uint64_t now) {
    const struct stores__pg_pool *pool = conn->pool;
    if (now >= conn->retire_at) return true;
    if (conn->in_flight > 0) return now >= conn->pinged_at + PING_PATIENCE_MS;
    return now >= conn->idle_since + pool->idle_ms &&
           pool->counts[STORES__PG_IDLE] > pool->min_idle;
}

enum stores__pool_fitness stores__pool_fitness(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    uint64_t now = uv_now(pool->loop), heard = heard_at(conn);
    if (is_spent(conn, now) || !stores__pg_is_idle(conn)) return STORES__POOL_SPENT;
    /* one that was used a moment ago needs no look */
    if (heard == now) return STORES__POOL_FIT;
    if (!stores__pg_is_alive(conn)) {
        pool->common.stats.lost++;
        conn->common->hooks->dropped(conn);
        return STORES__POOL_SPENT;
    }
    if (heard <= pool->doubted_at || now >= heard + pool->ping_ms) return STORES__POOL_DOUBTFUL;
    return STORES__POOL_FIT;
}

/* Who listens hears of nothing at all from a network that forgot him. */
static void ask_asides(struct stores__pg_pool *pool, uint64_t now) {
    struct stores__list *asides = &pool->places[STORES__PG_ASIDE];
    for (struct stores__list *at = asides->next; at != asides; at = at->next) {
        struct stores__pg_conn *conn = conn_at(at);
        if (!stores__pg_is_up(conn)) continue;
        if (conn->in_flight == 0 && now >= heard_at(conn) + pool->ping_ms) {
            stores__pool_ping(conn);
        } else if (conn->in_flight > 0 && ++conn->silent > PING_LOOKS) {
            stores__pg_lose(conn);
        }
    }
}

static void reap(struct stores__timer *timer) {
    struct stores__pg_pool *pool = STORES__CONTAINER(timer, struct stores__pg_pool, reaper);
    uint64_t now = uv_now(pool->loop);
    struct stores__list *idle = &pool->places[STORES__PG_IDLE];
    for (struct stores__list *at = idle->prev, *before; at != idle; at = before) {
        before = at->prev;
        struct stores__pg_conn *conn = conn_at(at);
        if (is_spent(conn, now)) {
            stores__pg_discard(conn);
        } else if (conn->in_flight == 0 && now >= heard_at(conn) + pool->ping_ms) {
            stores__pool_ping(conn);
        }
    }
    look_around(pool);
    ask_asides(pool, now);
    if (pool->counts[STORES__PG_IDLE] < pool->min_idle) stores__pool_grow(pool);
    if (stores__pg_open_count(pool) + pool->counts[STORES__PG_ASIDE] > 0 || pool->min_idle > 0) {
        stores__timer_set(pool->timers, &pool->reaper, now + stores__pool_jitter(pool->reap_ms));
    }
}

void stores__pool_idle_init(struct stores__pg_pool *pool) {
    /* often enough for the shortest of the limits */
    pool->reap_ms = REAP_MS;
    if (pool->reap_ms > pool->idle_ms / 2) pool->reap_ms = pool->idle_ms / 2 + 1;
    if (pool->reap_ms > pool->ping_ms / 2) pool->reap_ms = pool->ping_ms / 2 + 1;
    pool->reaper.fire = reap;
}

/* Nobody gives those back: who has one opens another when he hears of its loss. */
static void lose_asides(struct stores__pg_pool *pool) {
    struct stores__list *asides = &pool->places[STORES__PG_ASIDE];
    for (struct stores__list *at = asides->next; at != asides; at = at->next) {
        if (stores__pg_is_up(conn_at(at))) stores__pg_lose(conn_at(at));
    }
}

void stores__pg_pool_renew(struct stores__pg_pool *pool, uint64_t before) {
    uint64_t now = uv_now(pool->loop);
    lose_asides(pool);
    for (int place = STORES__PG_IDLE; place < STORES__PG_ASIDE; place++) {
        struct stores__list *list = &pool->places[place];
        for (struct stores__list *at = list->next; at != list; at = at->next) {
            if (conn_at(at)->serial < before) conn_at(at)->retire_at = now;
        }
    }
}

/* The server is a standby now, or is being made one: new connections look for another server. */
void stores__pool_read_only(struct stores__pg_conn *conn) {
    struct stores__pg_pool *pool = conn->pool;
    uint64_t now = uv_now(pool->loop);
    if (pool->renewed_at != 0 && now < pool->renewed_at + RENEW_MS) {
        conn->retire_at = now;
        return;
    }
    pool->renewed_at = now;
    stores__pg_pool_renew(pool, UINT64_MAX);
}
