/*
 * mark.h - how far into the WAL an engine with replicas has come: what it committed itself, and
 * what it read with leave to read on a replica. A read on a replica is for one that has replayed as
 * much.
 */
#ifndef STORES_REPLICA_MARK_H
#define STORES_REPLICA_MARK_H

#include "base/reach.h"
#include "engine/engine.h"

struct stores__replica;
struct stores__replicas;

struct stores__mark {
    struct stores__reach reach;
    /* What was read may have shown the record behind it as well, which that replica was just about
     * to finish: another one has to have replayed more. NULL: just so far. */
    const struct stores__replica *shown_by;
    /* Commits whose place was not told; reads at the primary that began after the last of them tell
     * it. */
    unsigned untold, covered;
};

/* ---- What the primary says ------------------------------------------------------------------- */

/* Behind COMMIT, or behind a read at the primary: where the primary is. Their answers are the
 * mark. */
enum stores__marked { STORES__COMMITTED, STORES__READ };
/* One of them under way. */
struct stores__marking {
    int index; /* of its statement in the request; -1: it is not asked */
    unsigned untold; /* when it was asked */
};

/* Adds the question where the engine has replicas; otherwise nothing, and no more than a look is
 * paid. */
void stores__marking_add_question(struct stores__marking *marking, stores_engine *engine,
                                  struct stores__pg_conn *conn, struct stores__pg_req *req,
                                  enum stores__marked what);
static inline void stores__marking_add(struct stores__marking *marking, stores_engine *engine,
                                       struct stores__pg_conn *conn, struct stores__pg_req *req,
                                       enum stores__marked what) {
    marking->index = -1;
    if (engine->replicas != NULL) {
        stores__marking_add_question(marking, engine, conn, req, what);
    }
}
/* Its answer, which stays the caller's; also one that failed. */
void stores__marking_take(const struct stores__marking *marking, stores_engine *engine,
                          const struct stores__pg_conn *conn, const struct pg_result *result);
/* Something was committed, or read, whose place nobody will tell: the next read asks the
 * primary. */
void stores__mark_untold(stores_engine *engine);

/* ---- What a replica says --------------------------------------------------------------------- */

/* A replica gave what it had replayed at the place at least; exact: and nothing beyond it. */
void stores__mark_read(struct stores__replicas *replicas, const struct stores__replica *replica,
                       struct stores__reach reach, bool exact);
void stores__mark_raise(struct stores__mark *mark, struct stores__reach reach,
                        const struct stores__replica *shown_by);
/* What that replica, or any (NULL), has to have replayed. */
uint64_t stores__mark_needs(const struct stores__mark *mark, const struct stores__replica *replica);

#endif
