/* Reading libpq's results, for those who do not include libpq. */
#include <libpq-fe.h>
#include <stdio.h>

#include "pg_conn.h"

void stores__pg_result_free(void *result) {
    PQclear(result);
}

bool stores__pg_result_ok(const struct pg_result *result, stores_error *error) {
    ExecStatusType status = PQresultStatus(result);
    switch (status) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_EMPTY_QUERY: return true;
    case PGRES_PIPELINE_ABORTED: stores__error_set(error, STORES_OK, "%s", ""); return false;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        stores__error_set(error, STORES_UNSUPPORTED, "COPY is not possible in a query");
        return false;
    default: break;
    }
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (sqlstate == NULL) {
        stores__error_set(error, STORES_CONNECTION_LOST, "%.*s",
                          (int)strcspn(PQresultErrorMessage(result), "\n"),
                          PQresultErrorMessage(result));
        return false;
    }
    stores__error_from_pg(error, sqlstate, PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY),
                          PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL),
                          PQresultErrorField(result, PG_DIAG_MESSAGE_HINT),
                          PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME),
                          PQresultErrorField(result, PG_DIAG_TABLE_NAME));
    /* class 08 as a mere error (a wrong number of parameters, a foreign server that is away) says
     * nothing of this connection, which goes on */
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (strncmp(sqlstate, "08", 2) == 0 && severity != NULL && strcmp(severity, "ERROR") == 0) {
        bool params = strcmp(sqlstate, "08P01") == 0;
        error->code = params ? STORES_INVALID_ARGUMENT : STORES_QUERY_FAILED;
        error->retryable = false;
        if (params && error->hint[0] == '\0') {
            snprintf(error->hint, sizeof error->hint, "pass as many parameters as the text has");
        }
    }
    return false;
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
    if (error->code != STORES_READ_ONLY || !req->readonly) return;
    error->retryable = false;
    snprintf(error->hint, sizeof error->hint, "the call itself asked for readonly = true");
}

/* What a statement says that was prepared for parameters and columns of other types: no such function
 * or operator (bigint = uuid), no such column, a value of another type. */
static bool is_of_types(const char *sqlstate) {
    static const char *const states[] = {"42883", "42804", "42846", "42703", "42725"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(sqlstate, states[i]) == 0) return true;
    }
    return false;
}

bool stores__pg_stale_plan(const struct stores__pg_req *req, const stores_error *error,
                           const struct pg_result *result) {
    if (strcmp(error->sqlstate, "26000") == 0) return true;
    if (req->prepared_before && is_of_types(error->sqlstate)) return true;
    if (strcmp(error->sqlstate, "0A000") != 0) return false;
    /* the only 0A000 of the plan cache; its function name is not translated */
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    return function != NULL && strcmp(function, "RevalidateCachedQuery") == 0;
}

bool stores__pg_has_rows(const struct pg_result *result) {
    return PQresultStatus(result) == PGRES_TUPLES_OK;
}
