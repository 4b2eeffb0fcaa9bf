/*
 * Which past of which database the cache belongs to. A server that goes on from an older state (a
 * copy of its folder, a crash that lost commits, another database of the same name) does so in a
 * new run, and every run has epochs of its own: what the cache keeps of another past is nobody's.
 *
 * A connection tells the past when it is new, and its life vouches for it: a server that ends ends
 * its connections. Where one is lost, or none is open, the past is in doubt, and nothing is read
 * from the cache until a server told it anew. Behind a transaction pooler a connection vouches for
 * nothing: there those statements tell it that a fill, an intent or a turn hangs on, and it is
 * asked anew every second while rows are read.
 */
#include <stdio.h>

#include "base/md5.h"
#include "cache/cache.h"

enum { ASK_AGAIN_MS = 1000 };

bool stores__past_known(const struct stores__cache *cache) {
    return cache->server.past[0] != '\0' && !cache->nameless;
}

bool stores__past_is(const struct stores__cache *cache,
                     const struct stores__pg_identity *identity) {
    return stores__past_known(cache) && strcmp(cache->server.past, identity->past) == 0 &&
           strcmp(cache->server.system, identity->system) == 0;
}

bool stores__past_trusted(const struct stores__cache *cache) {
    return stores__past_known(cache) && !cache->doubted &&
           stores__pg_open_count(&cache->engine->pool) > 0;
}

/* A role that may not ask who its server is cannot have a cache: rows of another past would do. Nor
 * can who writes by a worker of Citus, for it has other names for the same rows. */
static bool refuse_nameless(struct stores__cache *cache,
                            const struct stores__pg_identity *identity) {
    static const char worker[] = "the server is a worker of Citus, and not its coordinator";
    const char *what = cache->on_worker ? worker
                       : identity->past[0] == '\0'
                           ? "the role of this store may not ask since when its server runs"
                       : cache->fixed_prefix == NULL && identity->system[0] == '\0'
                           ? "the role of this store may not ask pg_control_system(), and no prefix"
                             " is given"
                           : NULL;
    if (what != NULL && !cache->nameless) {
        stores__log(cache->engine,
                    "%s: it goes on without a cache, and other processes that have one are not told"
                    " of its writes",
                    what);
    }
    cache->nameless = what != NULL;
    cache->nameless_why = cache->on_worker
                              ? worker
                              : "the role of this store may not ask PostgreSQL who it is";
    return cache->nameless;
}

/* The keys of rows are many, and short: to find one takes Redis the less memory. Who was given a
 * prefix need not know which system this is. */
static void name_keys(struct stores__cache *cache) {
    const struct stores__pg_identity *server = &cache->server;
    char digest[STORES__MD5_HEX + 1];
    if (cache->fixed_prefix != NULL) {
        snprintf(cache->prefix, sizeof cache->prefix, "%s", cache->fixed_prefix);
        memcpy(cache->rows_prefix, cache->prefix, sizeof cache->rows_prefix);
        return;
    }
    snprintf(cache->prefix, sizeof cache->prefix, STORES__KEYS_BEGIN "%s/%s/", server->system,
             server->database);
    stores__md5_hex(cache->prefix, strlen(cache->prefix), digest);
    snprintf(cache->rows_prefix, sizeof cache->rows_prefix, STORES__KEYS_BEGIN "%.10s", digest);
}

void stores__past_told(struct stores__cache *cache, const struct stores__pg_identity *identity,
                       uint64_t serial) {
    bool known = stores__past_is(cache, identity);
    if (identity->timeline[0] == '\0') return; /* the past that counts is the primary's */
    cache->identity_serial++;
    cache->told_at = stores__now(cache->engine);
    cache->doubted = false;
    if (known || refuse_nameless(cache, identity)) return;
    cache->server = *identity;
    name_keys(cache);
    stores__epoch_void_all(cache->engine);
    stores__pg_pool_renew(&cache->engine->pool, serial);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void took_identity(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__cache *cache = STORES__CONTAINER(req, struct stores__cache, ask_req);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error)) stores__past_told_by(cache, result);
    stores__pg_result_free(result);
}

static void asked(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* who still doubts asks again */
    STORES__CONTAINER(req, struct stores__cache, ask_req)->asking = false;
}

void stores__past_question(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    char sql[1024];
    snprintf(sql, sizeof sql, "SELECT %s",
             stores__pg_identity_columns(conn->common->identity_asked));
    stores__pg_add(conn, req, sql, 0, NULL, true);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__cache *cache = STORES__CONTAINER(wait, struct stores__cache, ask_wait);
    cache->ask_req.again = true; /* a lane that hangs is not waited for */
    cache->ask_req.result = took_identity;
    cache->ask_req.done = asked;
    stores__pg_begin(conn, &cache->ask_req);
    stores__past_question(conn, &cache->ask_req);
    stores__pg_sync(conn, &cache->ask_req);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    (void)error;
    STORES__CONTAINER(wait, struct stores__cache, ask_wait)->asking = false;
}

void stores__past_ask(struct stores__cache *cache) {
    if (cache->asking || stores__closing(cache->engine)) return;
    cache->asking = true;
    cache->asked_at = stores__now(cache->engine);
    cache->ask_wait.granted = granted;
    cache->ask_wait.failed = refused;
    stores__pg_acquire(&cache->engine->pool, &cache->ask_wait, STORES__PG_READING, "lookups");
}

bool stores__past_told_by(struct stores__cache *cache, const struct pg_result *result) {
    struct stores__pg_identity identity;
    if (!stores__pg_identity_take(&identity, result)) return false;
    if (identity.timeline[0] == '\0') return false;
    stores__past_told(cache, &identity, UINT64_MAX);
    return stores__past_is(cache, &identity);
}

bool stores__past_differs(struct stores__cache *cache, const struct pg_result *result) {
    struct stores__pg_identity before = cache->server;
    return stores__past_told_by(cache, result) && !stores__past_is(cache, &before);
}

void stores__past_doubt(struct stores__cache *cache) {
    cache->doubted = true;
}

void stores__past_look(struct stores__cache *cache) {
    uint64_t now = stores__now(cache->engine);
    bool lapsed = now >= cache->told_at + ASK_AGAIN_MS && now >= cache->asked_at + ASK_AGAIN_MS;
    if (cache->nameless) return;
    if (stores__past_trusted(cache)) {
        if (cache->engine->pool.pooler && lapsed) stores__past_ask(cache);
    } else if (cache->doubted || lapsed) {
        stores__past_ask(cache);
    }
}
