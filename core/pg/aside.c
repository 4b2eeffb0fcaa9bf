#include "pg/aside.h"

#include "pg/pool_internal.h"

static void give_up(struct stores__pg_aside *aside, const stores_error *error) {
    stores_error copy = *error;
    aside->pool->common.stats.connect_failures++;
    stores__list_remove(&aside->link);
    aside->failed(aside, &copy);
}

static void resolved(void *arg, struct stores__pg_target *target, const char *why) {
    struct stores__pg_aside *aside = arg;
    stores_error error;
    aside->resolving = NULL;
    aside->conn = stores__pool_connect(aside->pool, target, STORES__PG_ASIDE);
    if (aside->conn != NULL) {
        aside->conn->aside = aside;
        return;
    }
    stores__error_set(&error, STORES_CONNECT_FAILED, "%s", why ? why : "no memory to connect");
    give_up(aside, &error);
}

bool stores__pg_aside_open(struct stores__pg_pool *pool, struct stores__pg_aside *aside) {
    if (aside->resolving != NULL || aside->conn != NULL || pool->closing) return true;
    aside->pool = pool;
    aside->up = false;
    aside->resolving = stores__pg_resolve(pool->loop, &pool->common.params, 0, resolved, aside);
    if (aside->resolving == NULL) return false;
    stores__list_append(&pool->asides, &aside->link);
    return true;
}

static struct stores__pg_conn *take_conn(struct stores__pg_aside *aside) {
    struct stores__pg_conn *conn = aside->conn;
    aside->conn = NULL;
    aside->up = false;
    if (conn != NULL) {
        conn->aside = NULL;
        conn->notified = NULL;
    }
    return conn;
}

void stores__pg_aside_close(struct stores__pg_aside *aside) {
    struct stores__pg_conn *conn = take_conn(aside);
    if (aside->resolving != NULL) stores__pg_resolve_cancel(aside->resolving);
    aside->resolving = NULL;
    stores__list_remove(&aside->link);
    if (conn != NULL) stores__pg_discard(conn);
}

void stores__pool_aside_ready(struct stores__pg_conn *conn) {
    struct stores__pg_aside *aside = conn->aside;
    conn->idle_since = uv_now(conn->pool->loop);
    aside->up = true;
    aside->ready(aside);
}

void stores__pool_aside_failed(struct stores__pg_conn *conn, const stores_error *error) {
    struct stores__pg_aside *aside = conn->aside;
    stores_error copy = *error;
    bool again = stores__pool_unoption(conn, &copy);
    stores__pg_discard(take_conn(aside));
    stores__list_remove(&aside->link);
    if (conn->pool->closing || (again && stores__pg_aside_open(aside->pool, aside))) return;
    give_up(aside, &copy);
}

void stores__pool_aside_lost(struct stores__pg_conn *conn) {
    struct stores__pg_aside *aside = conn->aside;
    bool up = aside->up;
    stores__pg_discard(take_conn(aside));
    stores__list_remove(&aside->link);
    if (aside->pool->closing) return;
    if (up) {
        aside->lost(aside);
    } else {
        stores_error error;
        stores__error_set(&error, STORES_CONNECT_FAILED, "the server closed the new connection");
        give_up(aside, &error);
    }
}

void stores__pool_asides_close(struct stores__pg_pool *pool) {
    for (struct stores__list *at; (at = stores__list_shift(&pool->asides)) != NULL;) {
        stores__pg_aside_close(STORES__CONTAINER(at, struct stores__pg_aside, link));
    }
}
