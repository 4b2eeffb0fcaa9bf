/*
 * Opening a connection: libpq's connection loop on libuv, then the greeting (greet.c). See
 * "Asynchronous connection" in libpq's manual, section 34.1.
 *
 *   start --> on_connecting, at each event --> connected --> greet.c --> ready()
 *
 * Each of them may end in failed(); the deadline of all is the wire's timer.
 */
#include <inttypes.h>
#include <stdio.h>

#include "pg/citus.h"
#include "pg/wire.h"

/* The SQLSTATE in a line of libpq's verbose text, `FATAL:  28P01: password authentication ...`,
 * whose first word is in the server's language; NULL: there is none. */
static const char *find_sqlstate(const char *line, size_t len) {
    for (size_t i = 0; i + 10 <= len; i++) {
        if (memcmp(line + i, ":  ", 3) != 0 || memcmp(line + i + 8, ": ", 2) != 0) continue;
        if (strspn(line + i + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") >= 5) return line + i + 3;
    }
    return NULL;
}

/* libpq gives no fields for a refused connection, but a text: a line for each host that it tried,
 * and lines that explain them. Each host's line is kept, without its SQLSTATE. */
static void read_failures(const char *text, char sqlstate[6], struct stores__buf *out) {
    static const char marker[] = "failed: ";
    const char *before = "";
    for (size_t len; *text != '\0'; text += len + (text[len] == '\n')) {
        len = strcspn(text, "\n");
        const char *of_host = strstr(text, marker), *from = text;
        bool tells = out->len == 0 || (of_host != NULL && of_host < text + len);
        /* a host is tried twice where sslmode has two ways */
        if (!tells || len == 0 || strncmp(before, text, len + 1) == 0) continue;
        before = text;
        if (out->len > 0) stores__buf_str(out, "; ");
        const char *state = find_sqlstate(text, len);
        if (state != NULL) {
            memcpy(sqlstate, state, 5);
            const char *severity = state - 3;
            while (severity > text && severity[-1] != ' ') severity--;
            stores__buf_add(out, text, (size_t)(severity - text));
            from = state + 7;
        }
        stores__buf_add(out, from, (size_t)(text + len - from));
    }
}

static void connect_error(struct stores__pg_wire *wire, stores_error *error) {
    const char *text = wire->pg ? PQerrorMessage(wire->pg) : "no memory";
    char sqlstate[6] = "";
    struct stores__buf buf = {0};
    read_failures(text, sqlstate, &buf);
    if (wire->target->unresolved[0] != '\0') {
        stores__buf_fmt(&buf, buf.len ? "; %s" : "%s", wire->target->unresolved);
    }
    const char *message = stores__buf_text(&buf);
    if (message == NULL) message = "no memory";
    if (sqlstate[0] != '\0') {
        stores__error_from_pg(error, sqlstate, message, NULL, NULL, NULL, NULL);
        /* whatever it says, no statement ran and no connection was lost; and what it quotes is no
         * value of a document, but a setting that was asked for */
        if (error->code != STORES_AUTH_FAILED && error->code != STORES_CONNECT_FAILED) {
            bool retryable = error->code == STORES_CONNECTION_LOST;
            /* no CONNECT; who takes nobody for now may take somebody at the next try */
            bool shut = strcmp(sqlstate, "42501") == 0;
            stores__error_set(error, shut ? STORES_AUTH_FAILED : STORES_CONNECT_FAILED, "%s",
                              message);
            strcpy(error->sqlstate, sqlstate);
            error->retryable = retryable;
        }
    } else {
        bool password = wire->pg && PQconnectionNeedsPassword(wire->pg);
        stores__error_set(error, password ? STORES_AUTH_FAILED : STORES_CONNECT_FAILED, "%s",
                          message);
    }
    stores__buf_free(&buf);
    if (strstr(text, "channel binding required") != NULL ||
        strstr(text, "requirepeer specifies") != NULL ||
        strstr(text, "GSSAPI encryption required") != NULL) {
        error->retryable = false; /* what the config asks for, this server does not give */
    }
    if (strstr(text, "certificate") == NULL && strstr(text, "SSL was required") == NULL) return;
    error->retryable = false;
    if (wire->target->verify_by_default) {
        strcpy(error->hint, "a server that is not local is spoken to with sslmode = 'verify-full':"
                            " set sslrootcert to the file of its certificate authority, or say"
                            " another sslmode");
    }
}

static void connected(struct stores__pg_wire *wire) {
    PQsetErrorVerbosity(wire->pg, PQERRORS_DEFAULT);
    stores_error error;
    if (PQsetnonblocking(wire->pg, 1) != 0 || !PQenterPipelineMode(wire->pg)) {
        connect_error(wire, &error);
        stores__pg_connect_failed(wire, &error);
    } else {
        stores__pg_greet(wire);
    }
}

static void on_connecting(uv_poll_t *poll, int status, int events) {
    struct stores__pg_wire *wire = stores__pg_wire_of(poll, status);
    (void)events; /* libpq finds out what there is, also of an error */
    if (wire == NULL) return;
    /* libpq may close this socket and open another one of the same number inside the call */
    stores__pg_unwatch(wire);
    PostgresPollingStatusType next = PQconnectPoll(wire->pg);
    stores_error error;
    switch (next) {
    case PGRES_POLLING_OK: connected(wire); break;
    case PGRES_POLLING_READING: stores__pg_watch(wire, UV_READABLE); break;
    case PGRES_POLLING_WRITING: stores__pg_watch(wire, UV_WRITABLE); break;
    default: connect_error(wire, &error); stores__pg_connect_failed(wire, &error);
    }
}

static void connect_timed_out(struct stores__timer *timer) {
    struct stores__pg_wire *wire = STORES__CONTAINER(timer, struct stores__pg_wire, timer);
    stores_error error;
    const char *host = PQhost(wire->pg), *port = PQport(wire->pg);
    if (PQstatus(wire->pg) == CONNECTION_BAD) {
        connect_error(wire, &error);
    } else {
        stores__error_set(&error, STORES_CONNECT_FAILED, "no answer from %s port %s in time",
                          host ? host : "the server", port ? port : "?");
    }
    stores__pg_connect_failed(wire, &error);
}

/* Of what comes unasked the farewell matters: the server ends the connection, which it may close a
 * moment later; and what a coordinator of other servers warns of. */
static void take_notice(void *arg, const PGresult *result) {
    struct stores__pg_conn *conn = arg;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    stores__pg_citus_warned(conn, PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED), state);
    if (state != NULL && strncmp(state, "57P", 3) == 0) conn->common->hooks->dropped(conn);
}

bool stores__pg_conn_start(struct stores__pg_conn *conn, uv_loop_t *loop,
                           struct stores__timers *timers, struct stores__pg_target *target,
                           uint64_t connect_timeout_ms, bool pooler) {
    struct stores__pg_wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL) return false;
    wire->conn = conn;
    wire->loop = loop;
    wire->timers = timers;
    wire->pooler = pooler;
    wire->fd = -1;
    wire->on_socket = on_connecting;
    stores__list_init(&wire->lru);
    snprintf(wire->mark, sizeof wire->mark, STORES__PG_MARK "%016" PRIx64, stores__random_u64());
    wire->pg = PQconnectStartParams(target->keys, target->values, target->expand_dbname);
    wire->timer.fire = connect_timed_out;
    if (wire->pg == NULL ||
        !stores__timer_set(timers, &wire->timer, uv_now(loop) + connect_timeout_ms)) {
        PQfinish(wire->pg);
        free(wire);
        return false;
    }
    wire->target = target;
    conn->wire = wire;
    uv_idle_init(loop, &wire->life);
    wire->life.data = wire;
    wire->open_handles = 1;
    PQsetErrorVerbosity(wire->pg, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(wire->pg, take_notice, conn);
    if (PQstatus(wire->pg) == CONNECTION_BAD || PQsocket(wire->pg) < 0) {
        /* told on a later turn, like every failure: the timer's next firing says why */
        stores__timer_set(timers, &wire->timer, uv_now(loop));
        return true;
    }
    stores__pg_watch(wire, UV_WRITABLE);
    return true;
}
