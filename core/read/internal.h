/*
 * internal.h - reads as their own files see them, each of which calls those below it alone:
 *
 *     hints.c    which row is to be read
 *     held.c     rows in the memory of this process
 *     reads.c    ops, and the tick           cached.c   MGET, LEASE
 *     replica.c  SELECT on a replica
 *     select.c   SELECT                      shards.c   rows of one shard
 *     fill.c     FILL                        rows.c     rows and batches of them
 *
 * Where a row is, which functions of rows.c alone change:
 *
 *     QUEUED --flush--> TAKEN by a batch (MGET, LEASE, SELECT) --> answered, and gone
 *       ^                 |       |
 *       |    new epoch    |       | another one's lease
 *       +-----------------+       v
 *       +------- timer ------- WAITING           TWIN: hangs on a row of the same id, wherever that
 *                                                one is, and gets what it gets
 */
#ifndef STORES_READS_INTERNAL_H
#define STORES_READS_INTERNAL_H

#include "cache/cache.h"
#include "names/facts.h"
#include "read/reads.h"
#include "replica/replica.h"

enum {
    STORES__MGET_ROWS = 512, /* of one command, and of one tick's turn */
    STORES__SELECT_ROWS = 128 /* of one statement */
};

enum stores__row_place {
    STORES__ROW_TAKEN, /* a flush or a batch has it, and nobody else */
    STORES__ROW_QUEUED, /* in reads->queue */
    STORES__ROW_WAITING, /* in reads->waiting, with its timer */
    STORES__ROW_TWIN
};

/* One row that an op waits for. It outlives an op that leaves: a lease is worth filling. */
struct stores__read_row {
    struct stores__list link; /* of the queue, or of those that wait */
    struct stores__timer timer;
    struct stores__read_call *call;
    struct stores__read_row *twin; /* another row of the same id, which gets what this one gets */
    int64_t id;
    size_t index; /* of the document in the op */
    unsigned char place; /* an enum stores__row_place */
    unsigned char lease_tries, epoch_tries, lost_tries;
    bool cached; /* to be looked up in the cache */
    bool replica; /* a replica may answer; it is not in the cache then */
    bool fill; /* we hold its lease */
    char token[STORES__TOKEN_TEXT + 1];
    const char *epoch; /* of its lease; valid until stores__rows_select copied it */
};

struct stores__read_call {
    stores_op *op; /* NULL: it left */
    struct stores__table *table; /* held */
    size_t left;
    bool alone; /* of one row: a spare of the engine's */
    struct stores__read_row rows[];
};

struct stores__reads {
    struct stores__flush flush;
    struct stores__table *table;
    struct stores__list queue; /* rows of this tick */
    size_t queued[2]; /* how many of them are not cached, and are */
    struct stores__list waiting; /* rows that wait for somebody else's lease */
    uint64_t jitter, jitter_at; /* one for all that begin to wait at the same time */
};

/* Rows that travel together. */
struct stores__read_batch {
    struct stores__table *table; /* held */
    struct stores__redis_req redis_req;
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__pg_conn *conn;
    struct pg_result *result;
    struct stores__blob *blob; /* owns the result, or the reply, once it has one */
    stores_error *error; /* NULL: none was met */
    bool stale_plan, stray_cancel;
    int select; /* which statement of the request is the SELECT */
    struct stores__facts_asked asked; /* where the table's facts are asked for as well */
    struct stores__marking marking; /* of rows that a replica might have answered */
    struct stores__buf ids; /* replica.c: what it is asked for, */
    const char *values[1]; /* as the parameter */
    uint64_t stir; /* what hits are given back to be held in memory with; 0: none is */
    int64_t *kept; /* the ids of those that were */
    size_t kept_count;
    bool asks_past; /* the statement after the SELECT: a pooler's connection tells nothing */
    bool past_told; /* by it: a primary of the past that the epochs are of */
    char epoch[STORES__EPOCH_TEXT];
    char token[STORES__TOKEN_TEXT + 1];
    size_t count;
    struct stores__read_row *rows[];
};

/* ---- reads.c --------------------------------------------------------------------------------- */

/* Queues the rows whose ids the op's documents have. */
void stores__read_begin(stores_op *op, struct stores__table *table);
/* Rows of the table are read. Who may not read them from the cache, because of what Redis is, looks
 * whether that is over. */
void stores__reads_look(struct stores__table *table, bool readable);

/* ---- rows.c ---------------------------------------------------------------------------------- */

/* A row and its twins have their answer, and are gone; text NULL: there is no such row. The blob is
 * referenced. */
void stores__row_found(struct stores__read_row *row, const char *text, size_t len,
                       struct stores__blob *blob, char source);
/* TAKEN to QUEUED: into the queue of the tick, once more. */
void stores__row_enqueue(struct stores__read_row *row);
/* QUEUED or WAITING to TAKEN. */
void stores__row_take(struct stores__read_row *row);
/* TAKEN to WAITING, up to the time, in ms of the engine. False: no memory, it is TAKEN still. */
bool stores__row_wait(struct stores__read_row *row, uint64_t at);
/* WAITING to QUEUED, before its time. */
void stores__row_look_again(struct stores__read_row *row);
/* Hangs a row with its own twins on another one, behind those it has. NULL is allowed. */
void stores__row_hang(struct stores__read_row *row, struct stores__read_row *twins);
/* Of a row that is TAKEN and its twins the first whose op still waits, with those behind it: one
 * that looks at another's lease again carries those that asked for the same row. NULL: all of them
 * left. */
struct stores__read_row *stores__row_alive(struct stores__read_row *row);
/* A batch of rows that are TAKEN. NULL: no memory. */
struct stores__read_batch *stores__batch_new(struct stores__table *table,
                                             struct stores__read_row **rows, size_t count);
/* Frees the batch alone: its rows are answered, or somebody else's by now. */
void stores__batch_free(struct stores__read_batch *batch);
/* What the SELECT for so many rows is, and its parameter, to be freed by the caller. */
const char *stores__batch_sql(const struct stores__read_batch *batch);
void stores__batch_ids(const struct stores__read_batch *batch, struct stores__buf *ids);
/* A result of it is an error; of one that was skipped what came before it is. */
void stores__batch_met(struct stores__read_batch *batch, const stores_error *error);
/* Answers its rows with the error that it met; where it met none, its connection was lost. */
void stores__batch_fail(struct stores__read_batch *batch);
void stores__rows_fail(struct stores__read_row **rows, size_t count, const stores_error *error);
void stores__rows_no_memory(struct stores__read_row **rows, size_t count);
/* What these rows wait for, for the times of their ops. */
void stores__rows_phase(struct stores__table *table, struct stores__read_row **rows, size_t count,
                        enum stores__phase phase);

/* ---- select.c -------------------------------------------------------------------------------- */

/* Reads rows from PostgreSQL; those with a lease were leased together. */
void stores__rows_select(struct stores__table *table, struct stores__read_row **rows, size_t count);
/* Rows of one id become one row and its twins; returns how many are left. */
size_t stores__rows_merge_twins(struct stores__read_row **rows, size_t count);

/* The SELECT gave its result. */
void stores__batch_answer(struct stores__read_batch *batch, char source);

/* ---- fill.c ---------------------------------------------------------------------------------- */

/* What the SELECT of a batch said of its rows: found[i] is the line of the i-th, or -1. Rows
 * without our lease are passed over; all that are left were leased under one epoch, by one token.
 */
void stores__rows_fill(struct stores__read_batch *from, const int *found);

/* ---- shards.c -------------------------------------------------------------------------------- */

/* Puts rows in the order of their table's shards, where it is worth a statement for each of those;
 * false: it is not. */
bool stores__rows_group(const struct stores__table *table, struct stores__read_row **rows,
                        size_t count);
/* How many of such rows, from the first one on, are of the shard of the first. */
size_t stores__rows_of_shard(const struct stores__table *table, struct stores__read_row **rows,
                             size_t count);

/* ---- replica.c ------------------------------------------------------------------------------- */

/* Reads rows from a replica, and those that none may answer from the primary. */
void stores__rows_try_replica(struct stores__table *table, struct stores__read_row **rows,
                              size_t count);

/* ---- held.c ---------------------------------------------------------------------------------- */

/* The table is read from the cache, and is to be held. */
void stores__rows_hold(struct stores__table *table);
/* A row that an MGET hit gave is kept, where it may be; text NULL: there is none. */
void stores__row_keep(struct stores__read_batch *batch, const struct stores__read_row *row,
                      const char *text, size_t len);
/* Rows were kept: asks how long they may stay. */
void stores__rows_kept(struct stores__read_batch *batch);
/* Answers the row from memory. True: it is answered, and gone. */
bool stores__row_held(struct stores__read_row *row);

/* ---- cached.c -------------------------------------------------------------------------------- */

/* Looks rows up in Redis first. */
void stores__rows_get(struct stores__table *table, struct stores__read_row **rows, size_t count);

#endif
