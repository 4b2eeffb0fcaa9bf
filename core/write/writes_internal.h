/*
 * writes_internal.h - writes as their own files see them: writes.c (the writes and their ops),
 * segment.c (the transactions that they share).
 */
#ifndef STORES_WRITES_INTERNAL_H
#define STORES_WRITES_INTERNAL_H

#include "write/statement.h"
#include "write/writes.h"

enum { STORES__SEGMENT_WRITES = 64 };

/* One change of one caller. It is in the queue, or in a segment. */
struct stores__write {
    struct stores__list link;
    stores_op *op; /* NULL: it left while the segment was under way */
    struct stores__segment *segment;
    struct stores__statement *statement;
    uint64_t queued_at;
    size_t order; /* in its segment */
    unsigned char lost_tries;
    bool unsure; /* an INSERT that gave no row */
    stores_error *error; /* its own; NULL: none */
};

struct stores__segment {
    struct stores__list link;
    stores_engine *engine;
    struct stores__list writes;
    struct stores__write *order[STORES__SEGMENT_WRITES];
    size_t count, checks; /* checks: tables whose facts are asked for in front */
    struct stores__table *checked[STORES__SEGMENT_WRITES];
    struct stores__facts_asked asked[STORES__SEGMENT_WRITES]; /* for each of them */
    size_t prints; /* tables whose facts are confirmed behind the statements */
    struct stores__table *printed[STORES__SEGMENT_WRITES];
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__commit *commit; /* NULL: one statement that commits itself */
    unsigned looks; /* how often it was found under way */
    bool late; /* it makes way for others: segment_late.c */
    bool ending, given_up; /* its COMMIT is under way; nobody waits for it */
    bool rotates; /* others wait to run alone: it waits for its row in turns with them */
    bool alone; /* for one write, after the segment that it was in was rolled back */
    size_t first; /* index of the first write's statement in the request */
    bool failed, stale_plan, unsure, stray_cancel;
    stores_error error; /* of the statement that failed the segment */
};

struct stores__writes {
    struct stores__flush flush;
    stores_engine *engine;
    struct stores__list queue, alone;
    struct stores__list segments;
    int running, running_alone, late; /* running: those that count as such */
    struct stores__timer watch;
};

void stores__write_free(struct stores__write *write);
/* Answers the write's op, and frees it; error NULL: it succeeded. */
void stores__write_over(struct stores__write *write, const stores_error *error);
/* Back into the queue, after its segment was rolled back. */
void stores__write_requeue(struct stores__writes *writes, struct stores__write *write, bool alone);
/* The statement that failed the segment first says why. */
void stores__segment_fail(struct stores__segment *segment, const stores_error *error);
/* The end of the segment's request: everything was answered, or the connection lost. */
void stores__segment_sent(struct stores__pg_req *req, enum stores__pg_end end);
/* Nothing more is to be asked: COMMIT, or ROLLBACK where it has failed. */
void stores__segment_go_on(struct stores__segment *segment);
/* Some of its INSERTs gave no row (segment_unsure.c). */
void stores__segment_ask_unsure(struct stores__segment *segment);
/* Looks from time to time at those that are under way (segment_late.c). */
void stores__segments_watch(struct stores__writes *writes);
void stores__segments_look(struct stores__timer *timer);
/* Those that are not answered have so many connections that no other one may start. */
bool stores__segments_crowd(const struct stores__writes *writes);
/* The end of a tick: segments for what is queued (segment.c). */
void stores__writes_flush(struct stores__flush *flush);

#endif
