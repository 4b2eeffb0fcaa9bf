/*
 * pg_session.h - the settings of a session that the engine relies on, whatever a role, a database, a
 * server or PGOPTIONS has made the default.
 */
#ifndef STORES_PG_SESSION_H
#define STORES_PG_SESSION_H

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

#endif
