/*
 * session.h - the settings of a session that the engine relies on, whatever a role, a database, a
 * server or PGOPTIONS has made the default, and whatever on_connect sets.
 */
#ifndef STORES_PG_SESSION_H
#define STORES_PG_SESSION_H

#include "pg/conn.h"

/* X(name, value):
 *   default_transaction_isolation  a snapshot that is older than a statement would make fills stale
 *   extra_float_digits             0 or less drops digits of doubles
 *   gin_fuzzy_search_limit         anything but 0 drops rows of criteria at random
 *   exit_on_error                  on ends the session, and with it the outcome, at every error
 *   standard_conforming_strings    off reads backslashes in literals
 */
#define STORES__PG_PINS(X)                                                                         \
    X("default_transaction_isolation", "read committed")                                           \
    X("extra_float_digits", "1")                                                                   \
    X("gin_fuzzy_search_limit", "0")                                                               \
    X("exit_on_error", "off")                                                                      \
    X("standard_conforming_strings", "on")

/* What a new session is asked about itself: those of them that are otherwise, for a proxy may drop
 * what the session was to start with; whether it ends when it is idle; and what its clock says. */
struct stores__pg_session {
    char unfit[160]; /* their names; "": none */
    bool idles_out; /* idle_session_timeout is on: the server ends what the pool keeps for later */
    int64_t clock_ms; /* since 1970; 0: not told */
    uint64_t heard_ns; /* by uv_hrtime */
};

/* What makes them so, for on_connect may have made them others. */
extern const char stores__pg_session_pins[];
/* Columns of a SELECT, the last ones of it. */
extern const char stores__pg_session_columns[];
void stores__pg_session_read(struct stores__pg_session *session, const struct pg_result *result);
/* Why a session whose settings cannot be made is of no use. */
void stores__pg_session_refuse(const struct stores__pg_session *session, stores_error *error);

#endif
