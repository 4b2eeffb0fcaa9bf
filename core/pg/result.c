/* Reading libpq's results, for those who do not include libpq. */
#include <libpq-fe.h>
#include <stdio.h>

#include "base/worker.h"
#include "pg/conn.h"

void stores__pg_result_free(void *result) {
    PQclear(result);
}

/* A prepared statement of the engine is not there, or is there already. */
static bool is_name_of_ours(const char *sqlstate, const char *message) {
    return (strcmp(sqlstate, "26000") == 0 || strcmp(sqlstate, "42P05") == 0) &&
           strstr(message, "\"" STORES__PG_MARK) != NULL;
}

/* The connection went, and no server said why. */
static void say_lost(const struct pg_result *result, stores_error *error) {
    const char *message = PQresultErrorMessage(result);
    stores__error_set(error, STORES_CONNECTION_LOST, "%.*s", (int)strcspn(message, "\n"), message);
}

/* What reads values of these types has a syntax error, which is 42601 as one of a statement is: the
 * value is the caller's, as in class 22. The server's own files say so in every language. */
static bool is_of_a_value(const struct pg_result *result, const char *sqlstate) {
    static const char *const files[] = {"tsquery.c",       "tsvector_parser.c", "jsonpath_gram.y",
                                        "jsonpath_scan.l", "jsonpath.c",        "ltree_io.c",
                                        "ltxtquery_io.c"};
    const char *file = PQresultErrorField(result, PG_DIAG_SOURCE_FILE);
    if (strcmp(sqlstate, "42601") != 0 || file == NULL) return false;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(file, files[i]) == 0) return true;
    }
    return false;
}

static void say_refused(const struct pg_result *result, const char *sqlstate, const char *message,
                        stores_error *error) {
    stores__error_from_pg(error, is_of_a_value(result, sqlstate) ? "22000" : sqlstate, message,
                          PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL),
                          PQresultErrorField(result, PG_DIAG_MESSAGE_HINT),
                          PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME),
                          PQresultErrorField(result, PG_DIAG_TABLE_NAME));
    snprintf(error->sqlstate, sizeof error->sqlstate, "%s", sqlstate);
    const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
    if (position != NULL) error->position = atoi(position);
    if (error->hint[0] == '\0' && is_name_of_ours(sqlstate, error->message)) {
        strcpy(error->hint,
               "its session is not the one that prepared it: where a pooler in transaction"
               " mode stands before the server, say pooler = 'transaction'");
    }
}

/* Class 08 as a mere error (a wrong number of parameters, a foreign server that is away) says
 * nothing of this connection, which goes on. */
static void spare_connection(const struct pg_result *result, const char *sqlstate,
                             stores_error *error) {
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (strncmp(sqlstate, "08", 2) != 0 || severity == NULL || strcmp(severity, "ERROR") != 0) {
        return;
    }
    bool params = strcmp(sqlstate, "08P01") == 0;
    error->code = params ? STORES_INVALID_ARGUMENT : STORES_QUERY_FAILED;
    error->retryable = false;
    if (params && error->hint[0] == '\0') {
        snprintf(error->hint, sizeof error->hint, "pass as many parameters as the text has");
    }
}

static void say_failed(const struct pg_result *result, stores_error *error) {
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate == NULL) {
        say_lost(result, error);
        return;
    }
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);
    say_refused(result, sqlstate, message, error);
    stores__worker_names(error, message, context);
    if (stores__worker_lost(sqlstate, message, context)) {
        error->code = STORES_CONNECTION_LOST;
        error->retryable = true;
    } else if (strcmp(sqlstate, "08P01") == 0 &&
               strstr(message, "statement pooling mode") != NULL) {
        /* PgBouncer, which ends the connection with it */
        error->retryable = false;
        strcpy(error->hint, "PgBouncer's pool_mode = statement has no transactions: make it"
                            " transaction (and say pooler = 'transaction') or session");
    } else {
        spare_connection(result, sqlstate, error);
    }
}

bool stores__pg_result_ok(const struct pg_result *result, stores_error *error) {
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
        if (PQnfields(result) == 0 || PQfformat(result, 0) == 0) return true;
        stores__error_set(error, STORES_UNSUPPORTED,
                          "the rows of a binary cursor cannot be read: declare it without BINARY");
        return false;
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY: return true;
    case PGRES_PIPELINE_ABORTED: stores__error_set(error, STORES_OK, "%s", ""); return false;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        stores__error_set(error, STORES_UNSUPPORTED, "COPY is not possible in a query");
        return false;
    default: say_failed(result, error); return false;
    }
}

int stores__pg_rows(const struct pg_result *result) {
    return PQntuples(result);
}

int stores__pg_columns(const struct pg_result *result) {
    return PQnfields(result);
}

const char *stores__pg_column(const struct pg_result *result, int column) {
    return PQfname(result, column);
}

uint32_t stores__pg_column_type(const struct pg_result *result, int column) {
    return PQftype(result, column);
}

const char *stores__pg_value(const struct pg_result *result, int row, int column, size_t *len) {
    if (PQgetisnull(result, row, column)) return NULL;
    if (len != NULL) *len = (size_t)PQgetlength(result, row, column);
    return PQgetvalue(result, row, column);
}

int64_t stores__pg_affected(const struct pg_result *result) {
    /* PQcmdTuples takes a result that is not const, and does not change it */
    const char *text = PQcmdTuples((PGresult *)result);
    return text[0] == '\0' ? 0 : strtoll(text, NULL, 10);
}

const char *stores__pg_tag(const struct pg_result *result) {
    return PQcmdStatus((PGresult *)result);
}

void stores__pg_explain_read_only(const struct stores__pg_req *req, stores_error *error) {
    static const char *const hints[] = {
        [STORES__PG_KEPT_BY_CALL] = "the call itself asked for readonly = true",
        [STORES__PG_KEPT_IN_READS] = "what a view, a policy or an operator calls here would write, "
                                     "which what only reads is kept from: a query may do it",
        [STORES__PG_KEPT_IN_COMMIT] = "a trigger defers again and again what it causes, and inside "
                                      "of COMMIT nothing is written: no cache would be told"};
    if (error->code != STORES_READ_ONLY || req->kept == STORES__PG_MAY_WRITE) return;
    error->retryable = false;
    snprintf(error->hint, sizeof error->hint, "%s", hints[req->kept]);
}

bool stores__pg_has_rows(const struct pg_result *result) {
    return PQresultStatus(result) == PGRES_TUPLES_OK;
}
