/*
 * cache.h - the cache of an engine: its Redis link, what the servers are, keys and lifetimes.
 * The protocol itself: docs/cache.md. Rows are read by read/reads.c and written by write/commit.c;
 * epoch.c moves the epoch of each table, and epoch_internal.h has the order of the room's files.
 */
#ifndef STORES_CACHE_H
#define STORES_CACHE_H

#include "engine/engine.h"
#include "cache/nodes.h"
#include "redis/reply.h"
#include "engine/table.h"

enum {
    STORES__ENTRY_TEXT = 32, /* 16 random characters, then the xid8 as 16 hex digits */
    STORES__EPOCH_RANDOM = 16, /* characters that an epoch begins with */
    STORES__OWNER_TEXT = STORES__EPOCH_TEXT - STORES__EPOCH_RANDOM, /* what follows them */
    STORES__TOKEN_TEXT = 16,
    STORES__SCRIPT_ROWS = 200, /* a script over more would hold Redis for too long */
    STORES__VALUE_MAX = 256 * 1024 /* bytes; longer documents are not cached */
};

/* The class of the advisory locks by which sessions show that a statement which commits itself may
 * still write the table whose oid is the object. */
#define STORES__SIGN_CLASS "1400139634"

/* What the keys of a database begin with, where nobody has given a prefix: the 1 is the layout's
 * version. */
#define STORES__KEYS_BEGIN "stores1:"

/* A '+' ends an epoch of which the keys of its rows have the 16 random characters alone, which are
 * enough. Without one it is an older version's, whose rows have all of it. */
static inline bool stores__epoch_is_short(const char *text, size_t len) {
    return len > STORES__EPOCH_RANDOM && text[len - 1] == '+';
}

/* How much of an epoch the keys of its rows have. */
static inline size_t stores__epoch_part(const char *text, size_t len) {
    return stores__epoch_is_short(text, len) ? STORES__EPOCH_RANDOM : len;
}

enum { STORES__TROUBLES = 4 }; /* kinds of trouble that are remembered */

/* That the log has a kind of trouble, named by its first word, and since when. */
struct stores__trouble_said {
    char kind[24];
    uint64_t at;
};

struct stores__cache;
struct stores__node;

/* What those who hold rows in memory (held.h) hear of the files below them. */
struct stores__held_hooks {
    void (*forget)(struct stores__epoch *epoch); /* what was believed of it counts no more */
    void (*epoch_gone)(struct stores__epoch *epoch);
    void (*node_gone)(struct stores__node *node);
    void (*deafen)(struct stores__node *node, int deaf);
    void (*heard)(struct stores__cache *cache, const char *channel, const char *text);
    void (*word)(struct stores__cache *cache, const char *text); /* that all have acked */
};

struct stores__cache {
    stores_engine *engine;
    const struct stores__held_hooks *held_hooks;
    struct stores__turn_all *all;

    /* Where the keys are (nodes.c, map.c). */
    struct stores__list nodes;
    struct stores__node *node; /* of all keys, where there is no map; else one that lives */
    struct stores__map *map; /* NULL: no cluster was met */
    struct stores__redis_hooks link_hooks;
    struct stores__place *seeds; /* what is configured, where that is no path */
    size_t seed_count, seed_next;
    uint64_t node_serial;
    struct stores__redis_stats dropped; /* of the links of nodes that are no more */
    size_t links; /* that are not gone yet */
    bool was_up; /* some node */
    bool closed;

    struct stores__list held; /* struct stores__held: tables whose rows this process holds */
    struct stores__held_memory *memory; /* of those rows */

    char trouble[208]; /* what Redis refused last; "": nothing since it did what it was asked */
    bool refuses_reads; /* that is a read, and what is written does not tell that it is over */
    struct stores__trouble_said said[STORES__TROUBLES];
    uint64_t well_at; /* when it did that */
    char evicts_why[208];
    char *fixed_prefix;
    char prefix[512];
    char rows_prefix[512]; /* of the keys of rows, save those of older versions (args.c) */
    /* The store closes: turns that are owed are made first, where Redis can be reached in time. */
    void (*leaving)(void *arg);
    size_t paying;
    struct stores__timer patience;

    /* Whose rows these are (past.c). */
    struct stores__pg_identity server; /* its past is "" before the first connection */
    bool nameless; /* the role may not ask, or asks a worker: there is no cache */
    const char *nameless_why; /* static */
    bool on_worker; /* of Citus, as the last connection has it */
    bool doubted; /* a connection was lost since the server told it */
    bool asking;
    uint64_t identity_serial; /* how often PostgreSQL told who it is */
    uint64_t told_at, asked_at;
    struct stores__pg_wait ask_wait;
    struct stores__pg_req ask_req;
};

/* ---- The engine's part (engine/part.h) ------------------------------------------------------- */

bool stores__cache_open(stores_engine *engine, const stores_config *config, stores_error *error);
/* A server told a new connection who it is. */
void stores__cache_met(stores_engine *engine, const struct stores__pg_conn *conn);
/* A connection was lost. */
void stores__cache_doubt(stores_engine *engine);
/* Commands go out. */
void stores__cache_flush(stores_engine *engine);
void stores__cache_table_free(struct stores__table *table);
void stores__cache_stats(const stores_engine *engine,
                         void (*figure)(void *arg, const char *name, double value), void *arg);
void stores__cache_stop(stores_engine *engine);
/* In a child of a fork, before it is closed (base/deaf.h). */
void stores__cache_deafen(stores_engine *engine, int deaf);
/* Closes the link, where there is one; done(engine) comes from the loop. */
bool stores__cache_close(stores_engine *engine, void (*done)(void *engine));
void stores__cache_free(stores_engine *engine);

/* ---- What may be cached ---------------------------------------------------------------------- */

/* The rows of this table may be read from Redis now (or as soon as the link is up for the first
 * time). */
bool stores__cache_readable(const struct stores__table *table);
/* Writes to this table have to tell Redis. */
bool stores__cache_covers(const struct stores__table *table);
/* Redis, or a node of it, answers, as far as anybody knows. */
bool stores__cache_up(const struct stores__cache *cache);
/* The node that the keys of this table are on. */
struct stores__node *stores__epoch_node(const struct stores__epoch *epoch);
/* Whether Redis can be told of all of these: of a cluster, whether the nodes that have them are up.
 * Of none: whether a node is. */
bool stores__epochs_up(const struct stores__cache *cache, struct stores__epoch *const *epochs,
                       size_t count);

/* ---- What Redis refuses (trouble.c) ---------------------------------------------------------- */

void stores__trouble_refused(struct stores__cache *cache, const char *text);
/* A move that writes was done. */
void stores__trouble_over(struct stores__node *node);
/* A read was answered, or refused (NULL: neither). */
void stores__trouble_reads(struct stores__cache *cache, const struct redisReply *reply);
/* Why Redis could not be told of something, in its own words where it has any. */
const char *stores__trouble_why(const struct stores__cache *cache);
/* Whether its policy evicts intents; refusal: the words in which it refused to tell it, or "". */
void stores__trouble_evicts(struct stores__node *node, bool evicts_any, const char *refusal);
/* Asks for its policy and its history, where they were told long ago. */
void stores__trouble_look(struct stores__node *node);
/* It may be another one than it was: the next look comes at once. */
void stores__trouble_doubt(struct stores__node *node);

/* ---- The past of the server (past.c) --------------------------------------------------------- */

bool stores__past_known(const struct stores__cache *cache);
/* Known, and vouched for by a connection that lives: rows may be read from the cache. */
bool stores__past_trusted(const struct stores__cache *cache);
/* This server has the past that the epochs are of. */
bool stores__past_is(const struct stores__cache *cache, const struct stores__pg_identity *identity);
/* A server told who it is; where that is another one, connections of a lower serial are
 * replaced. */
void stores__past_told(struct stores__cache *cache, const struct stores__pg_identity *identity,
                       uint64_t serial);
/* The same by the columns of stores__pg_identity_columns in a result of one row. True: it is a
 * primary, whose past the epochs are of by now. */
bool stores__past_told_by(struct stores__cache *cache, const struct pg_result *result);
/* The same. True: the primary has another past, or is another one, than was known before. */
bool stores__past_differs(struct stores__cache *cache, const struct pg_result *result);
/* Adds the question for those columns to a request. */
void stores__past_question(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* A connection was lost. */
void stores__past_doubt(struct stores__cache *cache);
/* Rows are read: asks in the background where that is due. */
void stores__past_look(struct stores__cache *cache);
void stores__past_ask(struct stores__cache *cache);

/* A lifetime with its jitter of 10 %, in ms, as text. */
void stores__cache_ttl(uint64_t ms, char out[24]);

/* ---- A command in the making (args.c): keys and values by offset, for the buffer may move. --- */

enum { STORES__ARGS_FEW = 16 }; /* arguments; of more the places are not kept here */

struct stores__args {
    struct stores__buf buf;
    size_t few[STORES__ARGS_FEW], *many; /* where each argument begins in buf; many NULL: in few */
    int count, room;
    bool failed;
    struct stores__node *node; /* where the keys are; NULL: any */
    const struct stores__table *rows_of; /* the row keys' table, and what they begin with */
    size_t rows_at, rows_len, rows_epoch;
};

void stores__args_add(struct stores__args *args, const void *data, size_t len);
/* Where the argument begins in the buffer. */
size_t stores__args_offset(const struct stores__args *args, int index);
void stores__args_str(struct stores__args *args, const char *text);
/* The key of an epoch. */
void stores__args_epoch_key(struct stores__args *args, const struct stores__epoch *epoch);
/* The key of a row under an epoch, which this process need not believe in. */
void stores__args_key(struct stores__args *args, const struct stores__epoch *epoch,
                      const char *text, int64_t id);
/* The same of a table that was met: many of them, one after the other. */
void stores__args_row_key(struct stores__args *args, const struct stores__table *table,
                          const char *epoch, int64_t id);
/* The key of a hint which row has the value of this digest. */
void stores__args_hint_key(struct stores__args *args, const struct stores__table *table,
                           const char *digest);
/* The key of the hash of holders, which is their channel, too. */
#define STORES__HELD_KEY "/held"
void stores__args_held_key(struct stores__args *args, const struct stores__epoch *epoch);
/* How long the leases of a table are at most, as its mark says, in ms. */
void stores__args_longest(struct stores__args *args, const struct stores__epoch *epoch);
/* SCAN for the keys that begin so, and go on with the pattern. False: no memory. */
bool stores__args_scan(struct stores__args *args, const char *begins, const char *cursor,
                       const char *pattern);
/* For those that are not sent. */
void stores__args_free(struct stores__args *args);
/* Sends it as a command, or as a script with the first nkeys as keys; frees the args either way.
 * False: no memory; done never comes. */
bool stores__args_send(struct stores__args *args, struct stores__cache *cache,
                       struct stores__redis_req *req, struct stores__redis_script *script,
                       int nkeys);
/* The same on a link that is mute (stores__redis_say). */
bool stores__args_say(struct stores__args *args, struct stores__redis *redis,
                      struct stores__redis_script *script, int nkeys);

/* ---- Epochs (belief.c, epoch.c, turn.c) ------------------------------------------------------ */

/* The epoch of the table with this oid, held for the caller; NULL: no memory. */
struct stores__epoch *stores__epoch_of(stores_engine *engine, uint32_t oid);
struct stores__epoch *stores__epoch_hold(struct stores__epoch *epoch);
/* Whom nobody holds goes, unless something is to be done for it. NULL is allowed. */
void stores__epoch_let_go(struct stores__epoch *epoch);
void stores__epochs_free(stores_engine *engine);
/* The epoch that this process believes in, "" where it knows none. */
const char *stores__epoch_text(const struct stores__table *table);
/* What engine->facts_serial was when the epoch was seen to be V; UINT64_MAX: it is not V. */
uint64_t stores__epoch_valid_since(const struct stores__table *table);
enum stores__epoch_state stores__epoch_state(const struct stores__table *table);
/* What Redis said the epoch is (NULL or "": absent). True: it is V, and the one believed in, so the
 * rows that were read with it count. Otherwise the belief is corrected, and a turn begun or ended
 * in the background where one is due. */
bool stores__epoch_seen(struct stores__epoch *epoch, const char *value, size_t len);
/* Forgets every belief: the server is another one. */
void stores__epoch_void_all(stores_engine *engine);
/* The same about the tables of a node, and about those in slots that this node gets now. */
void stores__epoch_void_node(stores_engine *engine, const struct stores__node *node);
void stores__epoch_void_slots(stores_engine *engine, unsigned first, unsigned last,
                              const struct stores__node *next);
/* Processes may hold rows of the table in their memory (held.h), as PostgreSQL said when it was
 * asked last; how long their leases are at most, in ms, 0: there are none. And what it said: in
 * seconds, NULL or "0": they may not. */
bool stores__epoch_marked(const struct stores__epoch *epoch);
uint64_t stores__epoch_longest(const struct stores__epoch *epoch);
void stores__epoch_mark(struct stores__epoch *epoch, const char *seconds);

enum stores__turn_by {
    STORES__TURN_LOCKED, /* who has a lock of a writer, under which PostgreSQL told of the mark */
    STORES__TURN_FIRST, /* the same, who makes the first mark: nobody can have had a lease */
    STORES__TURN_NAMED, /* who has none, and was told a moment ago */
    STORES__TURN_FREE /* anybody else: whether there is a mark is asked where that matters */
};

/* Sets B<new> where there is an epoch, for rows that cannot be named; done(ok) comes from the loop,
 * at most once, and never where false (no memory) is returned. Where processes hold rows it comes
 * when they let go of them. Begins the turn only when stores__epoch_end_turn is called after the
 * write is over. */
bool stores__epoch_turn(struct stores__epoch *epoch, enum stores__turn_by by,
                        void (*done)(void *arg, bool ok), void *arg);
/* Looks for the end of a turn, in the background. */
void stores__epoch_end_turn(struct stores__epoch *epoch);
/* A write was committed without telling Redis: the table is turned when Redis is back, and not read
 * from the cache until then. */
void stores__epoch_bypassed(struct stores__epoch *epoch);
/* Redis is being told of a write. */
void stores__epoch_told(struct stores__epoch *epoch);
/* Another Redis than the one that was told: that one may live on, and this one's clients may have
 * been told nothing. What was told counts as if it had not been. At the same node; in slots that go
 * to another one. */
void stores__epoch_moved_node(stores_engine *engine, const struct stores__node *node);
void stores__epoch_moved_slots(stores_engine *engine, unsigned first, unsigned last,
                               const struct stores__node *next);
/* Redis is back. */
void stores__epoch_resume_all(stores_engine *engine);
/* A store that closes: whether a write of it went by Redis, and the turns that make up for that;
 * done comes from the loop for each that was sent. */
bool stores__epoch_owes(const stores_engine *engine);
/* Whether all that is owed can be paid, as far as is known. */
bool stores__epoch_payable(const stores_engine *engine);
size_t stores__epoch_pay(stores_engine *engine, void (*done)(stores_engine *engine));
/* Turns all tables of the database that Redis knows, also those that this engine never met, in the
 * background; until then they are bypassed here (turn_all.c). */
void stores__turn_all(stores_engine *engine);
bool stores__turn_all_new(stores_engine *engine); /* false: no memory */
void stores__turn_all_stop(stores_engine *engine);
void stores__turn_all_free(stores_engine *engine);
/* Stops what runs in the background. */
void stores__epoch_stop_all(stores_engine *engine);
bool stores__epoch_is_bypassed(const struct stores__table *table);

#endif
