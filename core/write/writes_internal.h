/*
 * writes_internal.h - writes as their own files see them, each calling those to its right:
 *
 *     writes.c ──> segments.c ──> segment_late.c ──> segment.c ──┬──> segment_facts.c
 *     (their ops)  (which run)    (not answered)    (one)       ├──> group.c ──> shared.c
 *                           └──────> alone.c <──┘               └──> write.c (one change)
 *
 * A write waits in the queue, or in the list of those that run alone; then it is a segment's.
 */
#ifndef STORES_WRITES_INTERNAL_H
#define STORES_WRITES_INTERNAL_H

#include "pg/array.h"
#include "replica/mark.h"
#include "write/statement.h"
#include "write/writes.h"

enum {
    STORES__SEGMENT_WRITES = 128, /* at most */
    STORES__SHARED_BYTES = 256 * 1024 /* of values and guards in one statement */
};

/* ---- One change of one caller (write.c) ------------------------------------------------------ */

struct stores__write {
    struct stores__list link;
    struct stores__writes *writes;
    stores_op *op; /* NULL: it left while the segment was under way */
    struct stores__segment *segment; /* NULL: it waits for one */
    struct stores__statement *statement;
    uint64_t queued_at;
    size_t order; /* in its segment */
    unsigned char lost_tries;
    bool unsure; /* an INSERT that gave no row */
    bool has_row; /* the statement that it shares gave one for it */
    bool rotated; /* it had a turn alone, and waits for longer in the next ones */
    bool yielded; /* it made way once: since then it takes turns, and is not undone again */
    stores_error *error; /* its own; NULL: none */
};

void stores__write_free(struct stores__write *write);
/* Answers the write's op, and frees it; error NULL: it succeeded. */
void stores__write_over(struct stores__write *write, const stores_error *error);
/* Its segment was rolled back: it waits to run alone, or in another one. */
void stores__write_run_alone(struct stores__writes *writes, struct stores__write *write);
void stores__write_run_again(struct stores__writes *writes, struct stores__write *write);
/* Frees the write of an op whose table is not known yet. */
void stores__write_dispose(stores_op *op);
/* The table that its name meant is gone, and nothing was done: the name is asked for once more. */
void stores__write_begin_anew(struct stores__write *write);

/* ---- Writes that are sent together (group.c, shared.c) --------------------------------------- */

/* Writes of a segment, one behind the other in its order: one, with a statement of its own, or
 * several of one table and one form that share a statement. */
struct stores__group {
    size_t first, count;
    enum stores__table_text text; /* of several: which one it is, or the one behind it */
    const char *sql; /* of several: what was sent; the table's own */
};

/* ---- A segment (segment.c, segment_facts.c) -------------------------------------------------- */

/* What it counts as for those who wait to start. */
enum stores__segment_place {
    SEGMENT_NOWHERE, /* not begun, or over */
    SEGMENT_RUNNING,
    SEGMENT_ALONE, /* for one write, after the segment that it was in was rolled back */
    SEGMENT_LATE, /* it makes way for others */
    SEGMENT_PLACES
};

/* The statements of its request stand in sections, one behind the other. */
enum stores__segment_section {
    SECTION_CHECKS, /* facts that are in doubt */
    SECTION_OPENING, /* BEGIN, and how long it waits for rows */
    SECTION_WRITES,
    SECTION_PRINTS, /* the transaction's number, with the catalog's word on each table */
    SECTIONS
};

struct stores__segment_check {
    struct stores__table *table;
    struct stores__facts_asked asked;
};

struct stores__segment {
    struct stores__list link;
    stores_engine *engine;
    enum stores__segment_place place; /* stores__segment_move alone sets it */
    struct stores__list writes;
    size_t count;
    size_t group_count;
    bool shares; /* there is a group that does */
    size_t ends[SECTIONS]; /* of its request: where each ends */
    size_t checks;
    size_t prints;
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__commit *commit; /* NULL: one statement that commits itself */
    struct stores__pg_req marks; /* of that, behind its Sync: where that left the server */
    struct stores__marking marking;
    enum stores__pg_end end; /* its own, while that is under way */
    unsigned looks; /* how often it was found under way */
    bool ending, given_up; /* its COMMIT is under way; nobody waits for it */
    bool yields; /* it was canceled for those that wait, and its write runs again alone */
    bool rotates; /* others wait to run alone: it waits for its row in turns with them */
    bool blind; /* an INSERT failed for an id that is taken, which the next one will look for */
    bool failed, stale_plan, unsure, stray_cancel;
    /* What is behind here is not even zeroed. */
    stores_error error; /* failed: of the statement that did that */
    /* As far as the counts above say. */
    struct stores__write *order[STORES__SEGMENT_WRITES];
    struct stores__group groups[STORES__SEGMENT_WRITES];
    struct stores__segment_check checked[STORES__SEGMENT_WRITES];
    struct stores__table *printed[STORES__SEGMENT_WRITES];
};

/* The one mover; nowhere: its end. Who waits for a place hears of it. */
void stores__segment_move(struct stores__segment *segment, enum stores__segment_place place);
/* Its writes are there, and its connection. */
void stores__segment_send(struct stores__segment *segment);
/* Every write ends with the error, or (NULL) with what it has itself; the segment is gone. */
void stores__segment_end(struct stores__segment *segment, const stores_error *error);
/* Gives its connection back, and frees it. */
void stores__segment_close(struct stores__segment *segment);

void stores__segment_add_checks(struct stores__segment *segment);
/* False: no memory. */
bool stores__segment_take_check(struct stores__segment *segment, size_t at,
                                const struct pg_result *result);
void stores__segment_add_prints(struct stores__segment *segment);
/* False: the table is no longer one whose writes may share a statement, and they did. */
bool stores__segment_take_print(struct stores__segment *segment, size_t at,
                                const struct pg_result *result);
/* The facts of the tables whose INSERTs gave no row; they are locked: no trigger comes or goes any
 * more. Then decides which ids are taken. False: all is to be undone, as *error says, and each
 * write run again by itself (stores__statement_is_taken). */
void stores__segment_add_unsure(struct stores__segment *segment);
bool stores__segment_decide_unsure(struct stores__segment *segment, stores_error *error);

/* Which of the writes share a statement. */
void stores__segment_group(struct stores__segment *segment);
void stores__groups_add(struct stores__segment *segment);
/* What an error of the server means for the statement of a group. */
void stores__group_explain(const struct stores__segment *segment, const struct stores__group *group,
                           stores_error *error);
/* Whether it means that an id is taken which the group's INSERT did not look for. */
bool stores__group_was_blind(const struct stores__group *group, const stores_error *error);
/* What its statement gave, whose result is freed here, or kept by who refers to it. False: *error
 * says why all is to be undone, and each write run again by itself. */
bool stores__group_take(struct stores__segment *segment, const struct stores__group *group,
                        struct pg_result *result, stores_error *error);

/* Whether a write may be in one transaction with shared statements, whose settings of the planner
 * hold for all of it: not what runs code of somebody, or the server's for foreign keys, whose
 * statements are planned then, and kept so. */
bool stores__shared_fits(const struct stores__statement *statement);
/* Of which shared statement a write may be a part; STORES__TABLE_TEXTS: of none. An INSERT is of
 * the one that fails where an id is taken, but for a while after one was. */
enum stores__table_text stores__shared_text(const struct stores__statement *statement);
void stores__shared_taken(struct stores__table *table);
/* Adds that statement. False: no memory, and nothing was added. */
bool stores__shared_add(struct stores__segment *segment, struct stores__group *group);

/* ---- Writes that run alone (alone.c) --------------------------------------------------------- */

/* Whether one of the same row runs alone, or is taken for one that does. */
bool stores__alone_runs(const struct stores__writes *writes, const struct stores__write *write);
/* The one that may begin next; NULL: none. Of the writes to one row only one at a time: the others
 * would wait for it, or with it. */
struct stores__write *stores__alone_next(const struct stores__writes *writes);
/* Whether they may take a connection more. */
bool stores__alone_has_room(const struct stores__writes *writes);

/* ---- All of them (segments.c, segment_late.c) ------------------------------------------------ */

struct stores__writes {
    struct stores__flush flush;
    stores_engine *engine;
    struct stores__spares spares; /* of writes */
    struct stores__list queue, alone;
    struct stores__list segments;
    int counts[SEGMENT_PLACES];
    struct stores__timer watch;
    struct stores__buf arrays[STORES__PG_ARRAYS_MAX]; /* of the statement that is being added */
};

/* The end of a tick: segments for what is queued. */
void stores__writes_flush(struct stores__flush *flush);
/* Looks from time to time at those that are under way. */
void stores__segments_watch(struct stores__writes *writes);
void stores__segments_look(struct stores__timer *timer);
/* Those that are not answered have so many connections that no other one may start. */
bool stores__segments_crowd(const struct stores__writes *writes);

#endif
