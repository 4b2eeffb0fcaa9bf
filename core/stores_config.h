/*
 * stores_config.h - the part of stores.h that says what an engine is made of. A program includes
 * stores.h.
 */
#ifndef STORES_CONFIG_H
#define STORES_CONFIG_H

#include "stores_replica.h"

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct stores_engine;

typedef enum stores_cache_failure {
    STORES_CACHE_FAILURE_BYPASS = 0, /* commit, remember the tables, turn them when Redis is back */
    STORES_CACHE_FAILURE_ERROR = 1 /* refuse the write before its row is touched */
} stores_cache_failure;

/*
 * TLS to Redis, of version 1.2 at least. The server's certificate has to be valid and for the name
 * or the address that was asked for. Files are PEM, and are read again by the next connection where
 * they have changed.
 */
typedef struct stores_tls {
    size_t size;
    bool no_verify; /* anybody may be the server: who is between the two reads and changes all */
    const char *ca; /* the authorities: a file, or a folder that was rehashed; NULL: the system's */
    const char *cert; /* the certificate of this client, with those that lead to its authority */
    const char *key; /* its key, not encrypted; NULL: in the file of cert */
    const char *server_name; /* what is asked for (SNI) and expected instead of the host */
} stores_tls;

#define STORES_TLS_INIT STORES_SIZED(stores_tls)

/*
 * What an engine is made of. What is zero has the default that stands beside it; strings are copied
 * by stores_engine_new.
 */
typedef struct stores_config {
    size_t size;
    struct uv_loop_s
        *loop; /* the host's loop, which must outlive the engine; NULL: one of its own */

    /* libpq's connection keywords and values, ended by a NULL key; "url" is one more of them. */
    const char *const *pg_keys;
    const char *const *pg_values;
    int poolsize; /* 10 */
    int max_waiters; /* 0: no limit */
    bool transaction_pooler; /* a PgBouncer in transaction mode stands before the server */
    uint64_t connect_timeout_ms; /* libpq's connect_timeout, where something says one; else 10 s */
    uint64_t statement_timeout_ms; /* 30 s, or what PGOPTIONS or a service say */
    uint64_t acquire_timeout_ms; /* 5 s */
    int min_idle; /* connections that stay open although nobody needs them; 0 */
    uint64_t idle_timeout_ms; /* an idle connection is closed after it: 60 s */
    uint64_t max_age_ms; /* a connection is not used again after it, +-10 %: 30 min */
    uint64_t ping_after_ms; /* an idle connection is asked whether it lives: 30 s */
    const char *on_connect; /* SQL that every new connection runs first; NULL */
    uint64_t timeout_ms; /* of a whole call: 30 s */

    bool no_cache; /* Redis is never spoken to */
    const char *redis_host; /* "127.0.0.1" */
    int redis_port; /* 6379 */
    const char *redis_path; /* a unix socket, instead of host and port */
    const char *redis_username, *redis_password;
    int redis_db;
    uint64_t redis_timeout_ms; /* 50 ms of silence while an answer is due */
    uint64_t redis_connect_timeout_ms; /* 1 s */
    const char *prefix; /* NULL: stores1:<system identifier>/<oid of the database>/ */
    uint64_t ttl_ms; /* 10 min, +-10 % */
    uint64_t negative_ttl_ms; /* 10 s */
    stores_cache_failure on_cache_failure;
    bool unsafe_eviction; /* take leases although the server may evict intents */

    bool no_segments; /* every write a transaction of its own */
    bool simpleflake; /* ids with 23 low bits */
    int shard_id, shard_count; /* count 0: no shards */

    /* What a person should know, said once for each cause; never called with values of documents.
     * May be NULL. Runs inside the loop: it must not call the engine. */
    void (*log)(void *arg, const char *text);
    void *log_arg;

    /* An idle link to Redis is asked so often whether it lives, while the loop is turned: 30 s;
     * UINT64_MAX: never. */
    uint64_t redis_keepalive_ms;
    const stores_tls *redis_tls; /* NULL: what goes to Redis is not encrypted */

    /* Sentinels, "host:port" each, ended by NULL, who are asked at each connect where Redis is, in
     * place of redis_host, redis_port and redis_path. */
    const char *const *redis_sentinels;
    const char *redis_master; /* the name that they know it by; there is none by default */
    const char *sentinel_username, *sentinel_password; /* what they want to hear, not Redis */
    const stores_tls *sentinel_tls; /* what goes to them; NULL: it is not encrypted */

    /* Nodes of a cluster, "host:port" each, ended by NULL, in place of redis_host, redis_port and
     * redis_path: one that answers tells of the rest. A cluster behind one address needs them
     * not. */
    const char *const *redis_cluster;

    /* A database that is a shard says so in its table stores_shard, and one that is another than
     * shard_id of shard_count is refused when a connection is opened. With a strategy of another
     * name the program knows whose an id is: ids of any shard are made and taken. */
    const char *shard_strategy; /* "modulo": the true modulo of the id */
    const char *shard_cluster; /* NULL: of whichever cluster */
    bool any_shard; /* take the database whatever it says */

    const stores_replica *const *replicas; /* ended by NULL; NULL: there are none */
    uint64_t max_lag_ms; /* no read is answered by a replica that is later than this; no limit */
    const char *after_token; /* what is read on a replica is not older than it says; NULL */

    size_t hold_bytes; /* of held rows (stores_hold), those that were not used go first: 64 MiB */

    /* A server that says nothing for so long, to calls that are under way, nor to a new connection,
     * fails them with STORES_CONNECTION_LOST within twice that, before their own deadlines; 0: they
     * wait. */
    uint64_t breaker_ms;

    /* How long held rows (stores_hold) may be read after this process last heard of writes: 1 s;
     * from 200 ms to 10 s. So long a write waits, once, for a process that froze or died. Processes
     * that share a table may have leases of different lengths, provided that all who write it know
     * of this field. Longer ones than a second need a mark in PostgreSQL, which the process makes;
     * where it may not, they are as long as the table's mark lets them be. */
    uint64_t hold_lease_ms;
} stores_config;

#define STORES_CONFIG_INIT STORES_SIZED(stores_config)

/* Which shard of how many the database said that it is, when the last connection was opened;
 * *strategy and *cluster are valid up to the next turn of the loop. False: it said nothing, or has
 * not been met. */
STORES_API bool stores_shard(const struct stores_engine *engine, int *shard, int *count,
                             const char **strategy, const char **cluster);
/* From now on its databases have to be of this cluster, where no other one was configured: for who
 * has found out which one all of the shards are of. A longer name than one can have is left. */
STORES_API void stores_expect_cluster(struct stores_engine *engine, const char *cluster);

#ifdef __cplusplus
}
#endif

#endif
