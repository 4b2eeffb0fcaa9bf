/*
 * internal.h - replicas as their own files see them, each of which calls those above it alone:
 *
 *   mark.c       how far the engine has come
 *   asked.c      what is asked of a replica
 *   shows.c      what they have shown that the primary may not have ended
 *   replicas.c   which of them is asked
 *   attempt.c    one read that one of them is asked for
 *   doubt.c      whether the primary has ended what they have shown
 *   asking.c     one read
 *   told.c       figures, and what people see of replicas
 */
#ifndef STORES_REPLICA_INTERNAL_H
#define STORES_REPLICA_INTERNAL_H

#include "base/sized.h"
#include "pg/probe.h"
#include "replica/replica.h"

/* For so long a replica may be silent until a read goes on to the primary: while it is connected
 * to, and until it says how far it is. Where calls end by a breaker (stores_config.breaker_ms) it
 * is a part of that, for the primary may have to be waited for, too. */
enum { STORES__REPLICA_PATIENCE_MS = 1000, STORES__REPLICA_OF_BREAKER = 4 };

/* Why a read was not answered by a replica; the figures of stats() are called so. */
#define STORES__REPLICA_REASONS(X)                                                                 \
    X(UNTOLD, untold) /* how far the caller is was not known: the primary tells it */              \
    X(AWAY, away) /* every one of them is left alone */                                            \
    X(BEHIND, behind) /* it has not replayed what the caller wrote, or read */                     \
    X(BUSY, busy) /* it had no connection free */                                                  \
    X(DOWN, down) /* not reached, or lost, or it does not tell how far it is */                    \
    X(SILENT, silent) /* it does not answer */                                                     \
    X(LAGGING, lagging) /* for longer than max_lag */                                              \
    X(PROMOTED, promoted) /* it is no standby, or not any more */                                  \
    X(FOREIGN, foreign) /* it is of another system, or database, or timeline; or the token is */   \
    X(FAILED, failed) /* the statement failed there */

enum stores__replica_reason {
    STORES__REPLICA_NONE,
#define STORES__X(NAME, name) STORES__REPLICA_##NAME,
    STORES__REPLICA_REASONS(STORES__X)
#undef STORES__X
        STORES__REPLICA_REASON_COUNT
};

struct stores__replica {
    struct stores__list link; /* replicas->fit or ->alone; replicas.c moves it */
    struct stores__replicas *all;
    struct stores__pg_pool pool;
    char *name; /* its hosts and ports, for people */
    bool is_alone;
    bool on_trial; /* a read is finding out whether it is fit again */
    enum stores__replica_reason why; /* it is left alone; NONE: it was not yet, or is not */
    unsigned failures; /* in a row */
    unsigned hasty; /* calls that waited less than is due, and got nothing, since it answered */
    uint64_t alone_until;

    uint32_t timeline; /* that it has replayed, at least; 0: not told */
    uint64_t seen; /* and up to there */
    uint64_t behind_until; /* it is not asked for more than it was seen to have */
    unsigned behind; /* how often in a row it had not */
    struct stores__shown shown; /* by its answers, of which the last */
    uint64_t shown_at; /* which was this one of all replicas' (shows.count) */
    char started[48]; /* the run of its server */

    struct stores__list attempts;
    int reading;
    uint64_t reads, fallbacks; /* that it answered, and did not */
    struct stores__pg_probe probe; /* a read that it began says nothing for long: is it there? */
};

/* ---- doubt.c --------------------------------------------------------------------------------- */

/* Who waits until the primary has ended what replicas have shown. */
struct stores__doubt {
    struct stores__list link; /* of the doubts waiting, or asked; doubt.c moves it */
    struct stores__shown shown; /* set before: of its own tokens */
    const char *tokens; /* set before: those of them that were not taken, for the primary was not
                         * met; NULL: all were */
    uint64_t until; /* set before: then all who wait for it have met their deadlines */
    struct stores__shown all; /* with what replicas have shown */
    unsigned era; /* in which that was so */
    uint64_t since; /* it waits for those who are about to end */
    uint64_t shows; /* of replicas' answers it has these */
    /* Once, from the loop: it has, or (error) nobody knows. */
    void (*over)(struct stores__doubt *doubt, const stores_error *error);
};

struct stores__doubts {
    struct stores__list waiting, asked;
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct pg_result *answer; /* of the question under way; NULL: none, */
    stores_error error; /* and why */
    struct stores__timer timer; /* to the next question */
    unsigned rounds, lost; /* questions in a row: since somebody came; that were lost */
    bool busy; /* a question is under way */
    bool beginning, refused; /* inside stores__doubt_begin; there is no connection for it */
};

/* ---- shows.c --------------------------------------------------------------------------------- */

struct stores__shows {
    /* Answers of replicas so far, of which the first `settled` show what the primary has ended. */
    uint64_t count, settled;
    struct stores__shown told; /* by the token of the configuration, as if by the answer told_at */
    uint64_t told_at;
    /* The first of them may show a timeline that is over, which counts for a moment. */
    uint64_t before, before_until;
    unsigned moves; /* from one timeline to the next */
};

struct stores__replicas {
    stores_engine *engine;
    struct stores__mark mark;
    struct stores__shows shows;
    struct stores__doubts doubts;
    char *after; /* the token of the configuration, until the primary is met; NULL: none */
    /* The primary, as its connections told; system "" and met: it may not be asked. */
    bool met;
    char system[24], database[12];
    uint32_t timeline;
    uint64_t max_lag_ms; /* 0: no limit */
    char *questions[2]; /* how far are you; the second: and on which timeline (asked.c) */
    uint64_t fallbacks[STORES__REPLICA_REASON_COUNT];
    struct stores__list fit, alone;
    int count, open;
    void (*closed)(void *engine);
    struct stores__replica *list;
};

/* ---- asked.c --------------------------------------------------------------------------------- */

/* What a replica said of itself. */
struct stores__standing {
    bool told, in_recovery;
    uint64_t lsn;
    uint64_t lag_ms; /* UINT64_MAX: nobody knows */
    uint32_t timeline; /* 0: not asked */
    bool of_run; /* it is of the run of its server that replica->started names */
};

/* Writes the questions. False: no memory. */
bool stores__standing_questions(struct stores__replicas *replicas);
/* What a read begins with. */
void stores__standing_add(const struct stores__replica *replica, struct stores__pg_conn *conn,
                          struct stores__pg_req *req);
void stores__standing_take(struct stores__standing *standing, const struct pg_result *result);
/* What it ends with: how far the replica is by then. */
void stores__reached_add(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* exact: it was not about to finish one more record. False: it was not told. */
bool stores__reached_take(const struct pg_result *result, uint64_t *lsn, bool *exact,
                          struct stores__shown *shown);

/* ---- shows.c --------------------------------------------------------------------------------- */

/* A replica has answered. */
void stores__shows_note(struct stores__replica *replica, struct stores__shown shown);
/* The token of the configuration, once the primary is met. */
void stores__shows_tell(struct stores__replicas *replicas, const char *token);
/* The primary is on that timeline. */
void stores__shows_follow(struct stores__replicas *replicas, uint32_t timeline);
/* Whether what a token of that timeline shows is to be believed. */
bool stores__shows_are_of(const struct stores__replicas *replicas, uint32_t timeline);
/* Another number when what is not settled may be less than before. */
unsigned stores__shows_era(const struct stores__replicas *replicas);
/* What is not settled. */
void stores__shows_add(const struct stores__replicas *replicas, struct stores__shown *shown);

/* ---- replicas.c ------------------------------------------------------------------------------ */

/* What is needed of a replica for a read. */
struct stores__need {
    struct stores__reach after; /* of tokens */
    struct stores__shown shown; /* and what replicas have shown by them */
};

/* Who is to be asked; NULL: nobody, and why. */
struct stores__replica *stores__replica_pick(struct stores__replicas *replicas,
                                             const struct stores__need *need,
                                             enum stores__replica_reason *why);
/* One that is fit and known to have come as far, and is not that one; NULL: none is. */
struct stores__replica *stores__replica_as_far(struct stores__replicas *replicas,
                                               const struct stores__need *need,
                                               const struct stores__replica *but);
/* Whether its connection is to the server that it should be. */
bool stores__replica_is_it(struct stores__replica *replica, const struct stores__pg_conn *conn);
/* Its answers are those of the connection's server from now on: several may have its name. */
void stores__replica_runs(struct stores__replica *replica, const struct stores__pg_conn *conn);
bool stores__replica_is_run(const struct stores__replica *replica,
                            const struct stores__pg_conn *conn);
/* What it says of itself fits the read. Otherwise it was noted why not, and this says it. */
enum stores__replica_reason stores__replica_judge(struct stores__replica *replica,
                                                  const struct stores__need *need,
                                                  const struct stores__standing *standing);
/* A read ends without an answer: the reason is counted, and the replica is left alone where it says
 * something of it. */
void stores__replica_failed(struct stores__replica *replica, enum stores__replica_reason why);

/* ---- attempt.c ------------------------------------------------------------------------------- */

struct stores__attempt;

/* Tries a read on that replica. done comes once, from the loop: with the rows, which are its to
 * free, or with NULL and why there are none. NULL: nothing is tried, and done does not come. */
struct stores__attempt *stores__attempt_start(struct stores__replica *replica,
                                              const struct stores__replica_read *read,
                                              const struct stores__need *need,
                                              void (*done)(void *arg, struct pg_result *result,
                                                           enum stores__replica_reason why),
                                              void *arg, enum stores__replica_reason *why);
/* Nobody waits for it any more; done does not come. */
void stores__attempt_leave(struct stores__attempt *attempt);

/* ---- doubt.c --------------------------------------------------------------------------------- */

void stores__doubts_init(struct stores__doubts *doubts);
/* over() does not come before this has returned. Taken out of its list, it is nobody's. False: no
 * memory, and it does not come. */
bool stores__doubt_begin(struct stores__replicas *replicas, struct stores__doubt *doubt);
/* The engine closes: nobody doubts any more. */
void stores__doubts_close(struct stores__replicas *replicas);

#endif
