/* citus.c - see citus.h. */
#include "pg/citus.h"

#include <string.h>

#include "pg/conn.h"

/* A conflict, or a lock that was not granted: a worker undid it, and so did all others. */
static bool is_conflict(const char *sqlstate) {
    return strncmp(sqlstate, "40", 2) == 0 || strcmp(sqlstate, "55P03") == 0;
}

/* A mere warning (class 01) says that there is one, and on which worker: why, the one before it. */
static int weight_of(const char *sqlstate) {
    if (sqlstate[0] == '\0') return 0;
    if (strncmp(sqlstate, "01", 2) == 0) return 1;
    return is_conflict(sqlstate) ? 2 : 3;
}

void stores__pg_citus_warned(struct stores__pg_conn *conn, const char *severity,
                             const char *sqlstate) {
    if (!conn->citus || severity == NULL || sqlstate == NULL || strlen(sqlstate) != 5) return;
    if (strcmp(severity, "WARNING") != 0) return;
    if (weight_of(sqlstate) > weight_of(conn->warning)) strcpy(conn->warning, sqlstate);
}

bool stores__pg_was_warned(const struct stores__pg_conn *conn) {
    return conn->warning[0] != '\0';
}

/* What the coordinator says of its workers, and not of itself. */
static bool is_of_worker(const stores_error *error) {
    return strcmp(error->sqlstate, "XX000") == 0 || strncmp(error->sqlstate, "08", 2) == 0;
}

void stores__pg_heed(const struct stores__pg_conn *conn, stores_error *error) {
    stores_error told;
    if (!conn->citus || !is_of_worker(error)) return;
    if (!is_conflict(conn->warning)) return;
    stores__error_from_pg(&told, conn->warning, error->message, NULL, NULL, NULL, NULL);
    error->code = told.code;
    error->retryable = told.retryable;
    memcpy(error->sqlstate, told.sqlstate, sizeof error->sqlstate);
}

bool stores__pg_in_doubt(const struct stores__pg_conn *conn, const stores_error *error) {
    return conn->citus && is_of_worker(error);
}
