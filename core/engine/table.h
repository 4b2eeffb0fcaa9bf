/*
 * table.h - the tables that an engine has met; what the server's catalog says of one decides what
 * may be cached of it. Which table a name means is the matter of names/names.h.
 *
 * A table is there as long as somebody holds it: a name that means it, a call, a transaction, a row
 * that is read or told to Redis. Some of those that nobody holds stay, for they may be met again;
 * the rest is freed at the end of a tick: until then whoever has just let go may go on with it.
 */
#ifndef STORES_TABLE_H
#define STORES_TABLE_H

#include "engine/engine.h"

enum {
    STORES__LEASE_MS = 1000, /* of who holds rows in memory, where nothing else is said */
    STORES__LEASE_LEAST_MS = 200,
    STORES__LEASE_MOST_MS = 10 * 1000, /* as the names of marks have it, below */
    STORES__TABLE_NAME_MAX = 264, /* two quoted names of 63 bytes, and a dot */
    STORES__EPOCH_TEXT = 64 /* 16 random characters . 16 of run_id . 28 of the past, and a + */
};

/* What an epoch is to this process (cache/cache.c moves it). */
enum stores__epoch_state {
    STORES__EPOCH_UNKNOWN, /* not read yet, or void: it is read with the next MGET */
    STORES__EPOCH_VALID, /* V: rows under it count */
    STORES__EPOCH_TURNING /* B: rows come from PostgreSQL */
};

/* The name of the type that marks a table whose rows processes may hold in their memory. It has no
 * members; that it is there is what is said (names/facts.c, write/mark.c). Where leases may be
 * longer than a second there is another one beside it, which ends in how many seconds that is. */
#define STORES__MARK_NAME(oid) "('stores_held_' || " oid ")::pg_catalog.name"

/* How many seconds the leases of a table last at most that is marked, by marks l of which that
 * holds; and of any table: 0, it is not marked. */
#define STORES__MARK_SECONDS(oid, which)                                                           \
    "coalesce((SELECT pg_catalog.max(s) FROM pg_catalog.generate_series(2, 10) s"                  \
    " JOIN pg_catalog.pg_class l"                                                                  \
    " ON l.relname = ('stores_held_' || " oid " || '_' || s)::pg_catalog.name" which "), 1)"
#define STORES__MARK(oid)                                                                          \
    "CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_class m WHERE m.relname = " STORES__MARK_NAME(    \
        oid) ") THEN " STORES__MARK_SECONDS(oid, "") " ELSE 0 END"

/* What a WHERE goes on with, before the parameter, where the row has to have an etag. */
#define STORES__HAS_ETAG " AND pg_catalog.md5(value::text) = "

/* How much the catalog is asked of a table (names/facts_sql.c). */
enum stores__facts_depth {
    STORES__FACTS_BRIEF, /* there is nothing to it but its rows */
    STORES__FACTS_ALONE, /* triggers, foreign keys, rules ..: what is its own */
    STORES__FACTS_ALL /* what inherits from it, domains, functions that somebody wrote */
};

/* Statements that come again and again, as they are prepared. */
enum stores__table_text {
    STORES__FIND_SQL,
    STORES__FIND_ANY_SQL,
    STORES__LOCK_SQL, /* a find that keeps others from the row by a write */
    STORES__SHARE_SQL, /* fails where somebody keeps others from the row */
    STORES__INSERT_SQL,
    STORES__INSERT_NEW_SQL, /* that gives no row where the id is taken */
    STORES__UPDATE_SQL,
    STORES__REPLACE_SQL, /* an update of the text that was read */
    STORES__UPDATE_ETAG_SQL, /* of the text that has this etag */
    STORES__DELETE_SQL,
    STORES__DELETE_ETAG_SQL,
    STORES__UPSERT_SQL, /* three ways, in the order of enum stores__upsert */
    STORES__UPSERT_SETTING_SQL,
    STORES__UPSERT_UPDATE_FIRST_SQL,
    /* Of many rows, over arrays ($1: ids in their order, $2: values, the last: guards). QUIET ones
     * give the ids alone, each behind the one that it stands for. */
    STORES__FIRST_SHARED_SQL,
    /* That fails where an id is taken; the one behind the next does not. */
    STORES__SHARED_INSERT_BLIND_SQL = STORES__FIRST_SHARED_SQL,
    STORES__SHARED_INSERT_BLIND_QUIET_SQL,
    STORES__SHARED_INSERT_SQL,
    STORES__SHARED_INSERT_QUIET_SQL,
    STORES__SHARED_UPDATE_SQL,
    STORES__SHARED_UPDATE_QUIET_SQL,
    STORES__SHARED_REPLACE_SQL,
    STORES__SHARED_REPLACE_QUIET_SQL,
    STORES__SHARED_UPDATE_ETAG_SQL,
    STORES__SHARED_UPDATE_ETAG_QUIET_SQL,
    STORES__SHARED_UPSERT_SQL,
    STORES__SHARED_UPSERT_QUIET_SQL,
    STORES__SHARED_DELETE_SQL,
    STORES__SHARED_DELETE_ETAG_SQL,
    STORES__TABLE_TEXTS
};

/* Three ways to insert or update, and to say which it was. */
enum stores__upsert {
    STORES__UPSERT_XMAX, /* plain tables: a row that was there has been locked, and shows it */
    STORES__UPSERT_SETTING, /* partitioned tables and views have no such column */
    STORES__UPSERT_UPDATE_FIRST /* what knows no ON CONFLICT: INSTEAD OF triggers, foreign tables */
};

/* Where the rows of a table are, where the server is one of several (Citus). */
enum stores__spread {
    STORES__SPREAD_NONE, /* on this server */
    STORES__SPREAD_BY_ID, /* on several, each row by the hash of its id */
    STORES__SPREAD_OTHERWISE, /* on others, by something else */
    STORES__SPREAD_COPIED /* all of them on each: a reference table */
};

struct stores__table {
    struct stores__list link; /* engine->tables */
    struct stores__list unused; /* engine->tables_unused, where nobody holds it */
    unsigned holders;
    stores_engine *engine;

    /* What the catalog said when it was asked last (names/facts.c). */
    uint32_t oid; /* of what has the name */
    bool known; /* false: ask again */
    bool cacheable; /* a plain table without row security, and no partition of another one */
    char uncached[20]; /* why it is not, in words; "": it is */
    bool reaches; /* any write may change rows that it does not name: triggers and their like */
    bool cascades; /* a deletion may */
    /* What runs before an INSERT, or in place of it, may take the row elsewhere: that it gave no
     * row does not mean that the id is taken. */
    bool may_take_rows;
    char *lacks; /* what it lacks to be one of Stores, in words; NULL: nothing */
    bool unkeyed; /* no unique index says that an id is there once */
    enum stores__upsert upsert; /* how it tells whether a row was inserted */
    bool wide; /* it has triggers, partitions or domains, whose changes its own row does not tell */
    bool loose; /* partitions, domains, functions change under a writer's lock on the table */
    bool calls; /* its definitions call functions that somebody wrote, or make values of domains, or
                 * of what may have some inside: all of them may be changed under a writer's lock */
    enum stores__spread spread;
    /* BY_ID: from which hash on each shard has the ids; may be none, for it is but a hint */
    int32_t *shards;
    size_t shard_count;
    enum stores__facts_depth depth; /* which question told all this */
    bool runs; /* to read it may run somebody's functions: a view, row security */
    char *print; /* what changes with them, in the catalog's words; NULL: none said it */
    bool facts_committed;
    uint64_t facts_serial, facts_at;
    uint64_t asked_at; /* when a writer asked for them last, whose answer may be on its way */
    struct stores__pg_topic topic; /* what its statements have of the pool */

    /* Made when they are needed (table_sql.c). Those of many rows come with the first of them: most
     * tables of an engine that knows a thousand never have one. */
    char *texts[STORES__FIRST_SHARED_SQL];
    char **shared_texts;
    uint64_t taken_at; /* when an INSERT last met an id that is taken; 0: none did */

    bool hold; /* its rows are to be held in memory (names/holds.c) */
    bool marking; /* the mark that says so is being made (write/mark.c) */
    uint64_t mark_at; /* not before that */
    const struct stores__expiry *expiry; /* names/expiry.c; NULL: its documents never are past */

    /* The cache's side (cache/cache.c, cache/epoch.c). */
    struct stores__epoch *epoch; /* of its oid; held. NULL: the engine does not cache */
    struct stores__orphans *orphans; /* read/orphans.c; made when it is needed */
    struct stores__reads *reads; /* the tick's reads (read/reads.c) */
    struct stores__hints *hints; /* read/hints.c; made when it is needed */
    char name[]; /* "schema"."table" as quote_ident writes it */
};

/* Reads a name: "a", "A.b", "\"A\"" into its quoted form. False: *error says what is wrong. */
bool stores__table_parse(const char *name, char *quoted, size_t room, stores_error *error);
/* A table by its quoted name, made where it is not known yet. It is held for who asks; NULL: no
 * memory. */
struct stores__table *stores__table_get(stores_engine *engine, const char *quoted);
void stores__tables_init(stores_engine *engine);
/* Those that are held, too. */
void stores__tables_free(stores_engine *engine);
/* What is not written out here: the last holder went, the first one came back. */
void stores__table_unused(struct stores__table *table);
void stores__table_used(struct stores__table *table);
/* A statement of the table's own, which lives as long as it does (table_sql.c); NULL: no memory. */
const char *stores__table_sql_make(struct stores__table *table, enum stores__table_text text);
void stores__table_sql_free(struct stores__table *table);
/* Says of an error of the server which of the engine's statements failed, and what the table lacks,
 * where that is why. table NULL: it is about none. */
void stores__table_explain(const struct stores__table *table, const char *sql, stores_error *error);
/* sql with %T replaced by the table's name, the caller's to free; NULL: no memory. */
char *stores__table_expand(const struct stores__table *table, const char *sql);

static inline struct stores__table *stores__table_hold(struct stores__table *table) {
    if (table->holders++ == 0) stores__table_used(table);
    return table;
}

/* NULL is allowed. */
static inline void stores__table_let_go(struct stores__table *table) {
    if (table != NULL && --table->holders == 0) stores__table_unused(table);
}

static inline const char *stores__table_sql(struct stores__table *table,
                                            enum stores__table_text text) {
    const char *made = NULL;
    if (text < STORES__FIRST_SHARED_SQL) {
        made = table->texts[text];
    } else if (table->shared_texts != NULL) {
        made = table->shared_texts[text - STORES__FIRST_SHARED_SQL];
    }
    return made != NULL ? made : stores__table_sql_make(table, text);
}

#endif
