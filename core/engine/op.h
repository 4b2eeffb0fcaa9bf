/*
 * op.h - one pending call. It completes exactly once, by stores__op_finish or stores__op_fail, and
 * its callback runs from the engine's drain, never inside the call that started it. Whoever serves
 * an op keeps a pointer to it only as long as it is pending: before an op ends early (deadline,
 * abandoned, engine closing) its `leave` takes it out of wherever it stands.
 */
#ifndef STORES_OP_H
#define STORES_OP_H

#include "base/err.h"
#include "base/latency.h"
#include "base/timers.h"

struct pg_result;
struct stores__table;

enum stores__op_state {
    STORES__OP_PENDING, /* somebody serves it */
    STORES__OP_READY, /* in the engine's ready list */
    STORES__OP_DONE /* its callback ran; it waits to be freed */
};

struct stores_op {
    struct stores__list link; /* engine->pending, then engine->ready, then none */
    struct stores__list inside_link; /* of the tx that its caller holds */
    struct stores__list stage_link; /* a list of the stage that serves it */
    stores_engine *engine;
    enum stores__op_state state;
    bool freed; /* stores_op_free came while the op was in the ready list, or was the parent's */
    bool forsaken; /* in a child of a fork: done, as far as its caller sees */
    bool cache; /* may read from the cache and publish to it */
    bool no_hold; /* what it reads is not held in memory, and comes from elsewhere */
    bool replica; /* a replica may answer what it reads */
    char source;
    bool inserted;
    bool bare; /* its table's name has no schema: search_path says which one is meant */
    bool asked_anew; /* what its name means, for the table was gone */
    stores_cb cb;
    void *arg;
    struct stores__timer timer;
    uint64_t timeout_ms; /* for the message */

    stores_code ends_early; /* why, while leave runs */
    /* Takes the op out of its stage, and says what became of the work. NULL: no stage has it. */
    stores_outcome (*leave)(stores_op *op);
    void *stage;
    /* Frees the stage of an op that completes before its table is known. */
    void (*dispose)(stores_op *op);
    /* Continues once the op's table is known (table.c). */
    void (*resolved)(stores_op *op, struct stores__table *table);

    enum stores__verb verb;
    enum stores__phase phase;
    uint64_t started_ns, phase_ns; /* of uv_hrtime */
    uint64_t spent_ns[STORES__PHASES]; /* kept while the engine is asked to */
    unsigned retries; /* how often it, or the segment that it was in, ran again */

    int64_t id;
    int64_t affected;
    stores_error *error;
    struct stores__doc one; /* docs points here where there is only one */
    struct stores__doc *docs;
    size_t doc_count, docs_missing; /* docs_missing: those that are still to come */
    size_t at_replica; /* what replicas are asked for: so many documents, or 1 where it has none */
    struct pg_result *result;
    char *after_token; /* what a replica has to have replayed; NULL: nothing in particular */
};

/* From now on the op's time goes to this phase. */
void stores__op_phase(stores_op *op, enum stores__phase phase);
/* A new pending op with its deadline armed; call may be NULL. NULL: no memory. */
stores_op *stores__op_new(stores_engine *engine, const stores_call *call);
/* Room for n documents, all absent. False: no memory. */
bool stores__op_docs(stores_op *op, size_t n);
/* Keeps one document; the blob is referenced. text NULL: absent. */
void stores__op_set_doc(stores_op *op, size_t index, int64_t id, const char *text, size_t len,
                        struct stores__blob *blob);
void stores__op_finish(stores_op *op);
/* Completes with a copy of the error. */
void stores__op_fail(stores_op *op, const stores_error *error);
void stores__op_failf(stores_op *op, stores_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Runs the callbacks of all that is ready; those that become ready meanwhile wait for the next
 * drain. Returns how many ran. */
size_t stores__op_drain(stores_engine *engine);
/* In a child of a fork: an op of the parent's is done here, as far as this process is concerned. */
void stores__op_forsake(stores_op *op);
/* Takes a pending op out of its stage, and completes it with what that says of the outcome. */
void stores__op_end_early(stores_op *op, stores_code code, const char *text);
/* Ends every pending op with this error. */
void stores__op_close_all(stores_engine *engine, stores_code code, const char *text);
/* In a child of a fork: what the parent had under way ends here with `forked`, and what had ended
 * as it did; no callback runs. */
void stores__op_forget_all(stores_engine *engine);

#endif
