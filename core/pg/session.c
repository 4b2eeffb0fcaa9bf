/* session.c - see session.h. */
#include "pg/session.h"

#define UNFIT(name, value)                                                                         \
    ", CASE WHEN pg_catalog.current_setting('" name "', true) <> '" value "' THEN '" name "' END"
#define WANTED(name, value) " " name " = " value ","
#define PINNED(name, value) ", pg_catalog.set_config('" name "', '" value "', false)"

const char stores__pg_session_pins[] =
    "SELECT pg_catalog.set_config('client_encoding', 'UTF8', false)" STORES__PG_PINS(PINNED);

const char stores__pg_session_columns[] =
    "pg_catalog.current_setting('idle_session_timeout', true),"
    " pg_catalog.concat_ws(', '" UNFIT("client_encoding", "UTF8")
        STORES__PG_PINS(UNFIT) "),"
                               " " STORES__PG_TIME_SQL("pg_catalog.clock_timestamp()");

void stores__pg_session_read(struct stores__pg_session *session, const struct pg_result *result) {
    int last = stores__pg_columns(result) - 1;
    if (stores__pg_rows(result) != 1 || last < 2) return;
    const char *unfit = stores__pg_value(result, 0, last - 1, NULL);
    const char *idle = stores__pg_value(result, 0, last - 2, NULL);
    const char *clock = stores__pg_value(result, 0, last, NULL);
    session->unfit[0] = '\0';
    if (unfit != NULL) strncat(session->unfit, unfit, sizeof session->unfit - 1);
    session->idles_out = idle != NULL && strcmp(idle, "0") != 0; /* NULL: before PostgreSQL 14 */
    session->clock_ms = stores__pg_time(clock) / 1000;
    session->heard_ns = uv_hrtime();
}

void stores__pg_session_refuse(const struct stores__pg_session *session, stores_error *error) {
    static const char wanted[] = "say them for the role (ALTER ROLE .. SET):" STORES__PG_PINS(
        WANTED);
    stores__error_set(
        error, STORES_CONNECT_FAILED,
        "the sessions behind the pooler have other settings than Stores can work with:"
        " %s",
        session->unfit);
    error->retryable = false;
    size_t len = sizeof wanted - 2; /* without the last comma */
    if (len > sizeof error->hint - 1) len = sizeof error->hint - 1;
    memcpy(error->hint, wanted, len);
    error->hint[len] = '\0';
}
