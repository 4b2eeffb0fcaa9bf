/*
 * Opening a connection: libpq's connection loop on libuv, then the one round trip that tells who
 * the server is. See "Asynchronous connection" in libpq's manual, section 34.1.
 *
 *   start --> on_connecting, at each event --> greet --> ask --> greeting_done
 *                                                         ^           |
 *                may ask less, or settings by a statement +-----------+
 *                             place_done <-- ask_place, where it is a shard, or has workers
 *                                  |                v
 *   ready() <-- set_up <-- on_connect_done <----- go_up
 *
 * Each of them may end in fail(), and failed(); the deadline of all is the wire's timer.
 */
#include <inttypes.h>
#include <stdio.h>

#include "pg/citus.h"
#include "pg/wire.h"

static void fail(struct stores__pg_wire *wire, const stores_error *error) {
    stores__timer_stop(wire->timers, &wire->timer);
    wire->conn->common->hooks->failed(wire->conn, error);
}

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
            stores__error_set(error, STORES_CONNECT_FAILED, "%s", message);
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

/* A statement of the user's, without which the session is not what was asked for. */
static void fail_refused(struct stores__pg_wire *wire, const char *what) {
    stores_error error;
    stores__error_set(&error, STORES_CONNECT_FAILED, "%s: %s", what, wire->refused.message);
    memcpy(error.sqlstate, wire->refused.sqlstate, sizeof error.sqlstate);
    error.retryable = false;
    fail(wire, &error);
}

static void greeted(struct stores__pg_req *req, int index, struct pg_result *result);
static void greeting_done(struct stores__pg_req *req, enum stores__pg_end end);

/* One statement, for a lone statement is what a transaction pooler passes on untouched. */
static void ask(struct stores__pg_wire *wire) {
    wire->greeting.result = greeted;
    wire->greeting.done = greeting_done;
    stores__pg_begin(wire->conn, &wire->greeting);
    const char *settings = wire->conn->common->params.settings;
    if (settings != NULL) stores__pg_add(wire->conn, &wire->greeting, settings, 0, NULL, false);
    struct stores__buf sql = {0};
    stores__buf_fmt(&sql, "SELECT %s, %s, %s%s, %s",
                    stores__pg_identity_columns(wire->conn->common->identity_asked),
                    STORES__PG_SHARD_COLUMN,
                    /* a session behind a pooler is somebody else's, too */
                    wire->pooler ? STORES__PG_CITUS_HAS : STORES__PG_CITUS_COLUMN,
                    stores__pg_checks_client(wire) ? ", " STORES__PG_CHECK_SQL : "",
                    stores__pg_session_columns);
    memset(&wire->not_told, 0, sizeof wire->not_told);
    stores__pg_add(wire->conn, &wire->greeting, stores__buf_text(&sql), 0, NULL, false);
    stores__buf_free(&sql);
    stores__pg_sync(wire->conn, &wire->greeting);
}

static void greeted(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    stores_error error;
    bool last = index == wire->greeting.added - 1;
    if (!stores__pg_result_ok(result, &error)) {
        *(last ? &wire->not_told : &wire->refused) = error; /* else it is the settings */
    } else if (last) {
        stores__pg_identity_take(&wire->conn->identity, result, 0);
        const char *mark = stores__pg_value(result, 0, STORES__PG_IDENTITY_COLUMNS, NULL);
        wire->has_shard = stores__pg_shard_mark(&wire->conn->shard, mark);
        const char *citus = stores__pg_value(result, 0, STORES__PG_IDENTITY_COLUMNS + 1, NULL);
        wire->conn->citus = citus != NULL && citus[0] != 'f';
        stores__pg_session_read(&wire->session, result);
    }
    stores__pg_result_free(result);
}

static void set_up(struct stores__pg_wire *wire) {
    stores__timer_stop(wire->timers, &wire->timer);
    wire->conn->common->hooks->ready(wire->conn);
}

static void took_on_connect(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    stores_error error;
    (void)index;
    if (!stores__pg_result_ok(result, &error) && wire->refused.code == STORES_OK) {
        wire->refused = error;
    }
    stores__pg_result_free(result);
}

static void on_connect_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    if (end == STORES__PG_LOST) return;
    if (wire->refused.code == STORES_OK && stores__pg_in_transaction(wire->conn)) {
        stores__error_set(&wire->refused, STORES_INVALID_OPTION,
                          "on_connect leaves a transaction open");
    }
    if (wire->refused.code == STORES_OK) {
        set_up(wire);
    } else {
        fail_refused(wire, "on_connect failed");
    }
}

/* A proxy that drops start-up options in silence has not set what the engine relies on: it is set
 * by a statement then, unless the session is somebody else's, too. False: the set-up goes on later,
 * or has failed. */
static bool fits(struct stores__pg_wire *wire) {
    struct stores__pg_params *params = &wire->conn->common->params;
    if (wire->session.idles_out && !wire->pooler && stores__pg_params_no_idle_limit(params)) {
        wire->conn->retire_at = uv_now(wire->loop); /* another one takes its place */
    }
    if (wire->session.unfit[0] == '\0') return true;
    if (!wire->pooler && !wire->asked_again &&
        (params->settings != NULL || stores__pg_params_unoption(params))) {
        wire->asked_again = true;
        ask(wire);
        return false;
    }
    stores_error error;
    stores__pg_session_refuse(&wire->session, &error);
    fail(wire, &error);
    return false;
}

/* A function that this role may not call, or that this server does not have. */
static bool may_ask_less(const struct stores__pg_wire *wire) {
    const char *state = wire->not_told.sqlstate;
    return wire->not_told.code != STORES_OK &&
           wire->conn->common->identity_asked < STORES__PG_IDENTITIES - 1 &&
           (strncmp(state, "42", 2) == 0 || strncmp(state, "0A", 2) == 0 ||
            strncmp(state, "55", 2) == 0);
}

static void fail_unknown(struct stores__pg_wire *wire) {
    stores_error error = wire->not_told;
    if (error.code == STORES_OK) {
        stores__error_set(&error, STORES_CONNECT_FAILED, "the server does not tell who it is");
    } else if (error.code != STORES_CONNECTION_LOST) {
        error.code = STORES_CONNECT_FAILED;
    }
    fail(wire, &error);
}

static void go_up(struct stores__pg_wire *wire) {
    struct stores__pg_conn *conn = wire->conn;
    conn->standby = conn->identity.timeline[0] == '\0';
    conn->common->citus = conn->citus;
    conn->clock_ms = wire->session.clock_ms;
    conn->clock_heard_ns = wire->session.heard_ns;
    stores__pg_enter(wire, WIRE_UP);
    if (conn->common->on_connect != NULL) {
        wire->greeting.result = took_on_connect;
        wire->greeting.done = on_connect_done;
        stores__pg_simple(conn, &wire->greeting, conn->common->on_connect);
    } else {
        set_up(wire);
    }
}

/* Whether its database is the shard that is meant. */
static void judge(struct stores__pg_wire *wire) {
    stores_error error;
    if (stores__pg_shard_fits(&wire->conn->shard, &wire->conn->common->shard, PQdb(wire->pg),
                              &error)) {
        go_up(wire);
    } else {
        fail(wire, &error);
    }
}

static void took_place(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    stores_error error;
    bool of_shard = wire->has_shard && index == 0;
    bool ok = stores__pg_result_ok(result, &error);
    if (ok && of_shard) {
        stores__pg_shard_take(&wire->conn->shard, result);
    } else if (ok) {
        const char *group = stores__pg_value(result, 0, 0, NULL);
        wire->conn->worker = group == NULL || strcmp(group, "0") != 0;
    } else if (!of_shard) {
        wire->not_told = error;
    } else if (wire->refused.code == STORES_OK && !wire->conn->common->shard.any) {
        wire->refused = error;
    }
    stores__pg_result_free(result);
}

static void place_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    if (end == STORES__PG_LOST) return;
    if (wire->refused.code != STORES_OK) {
        fail_refused(wire, "which shard the database is cannot be read");
    } else if (wire->not_told.code != STORES_OK) {
        fail_unknown(wire);
    } else {
        judge(wire);
    }
}

static void ask_place(struct stores__pg_wire *wire) {
    struct stores__buf sql = {0};
    wire->greeting.result = took_place;
    wire->greeting.done = place_done;
    stores__pg_begin(wire->conn, &wire->greeting);
    if (wire->has_shard) {
        stores__pg_shard_read(&wire->conn->shard, &sql);
        stores__pg_add(wire->conn, &wire->greeting, stores__buf_text(&sql), 0, NULL, false);
    }
    if (wire->conn->citus) {
        stores__pg_add(wire->conn, &wire->greeting, STORES__PG_CITUS_GROUP, 0, NULL, false);
    }
    stores__buf_free(&sql);
    stores__pg_sync(wire->conn, &wire->greeting);
}

static void greeting_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = STORES__CONTAINER(req, struct stores__pg_wire, greeting);
    struct stores__pg_common *common = wire->conn->common;
    if (end == STORES__PG_LOST) return; /* the pool hears of the loss itself */
    if (common->params.settings != NULL && wire->refused.code != STORES_OK) {
        fail_refused(wire, "the session cannot be set up");
    } else if (may_ask_less(wire)) {
        common->identity_asked++;
        ask(wire);
    } else if (wire->conn->identity.database[0] == '\0') {
        fail_unknown(wire);
    } else if (!fits(wire)) {
        return;
    } else if (wire->has_shard || wire->conn->citus) {
        ask_place(wire);
    } else {
        judge(wire);
    }
}

static void greet(struct stores__pg_wire *wire) {
    PQsetErrorVerbosity(wire->pg, PQERRORS_DEFAULT);
    stores_error error;
    if (PQsetnonblocking(wire->pg, 1) != 0 || !PQenterPipelineMode(wire->pg)) {
        connect_error(wire, &error);
        fail(wire, &error);
        return;
    }
    stores__pg_enter(wire, WIRE_GREETING);
    wire->on_socket = stores__pg_on_answer;
    stores__pg_watch(wire, UV_READABLE);
    ask(wire);
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
    case PGRES_POLLING_OK: greet(wire); break;
    case PGRES_POLLING_READING: stores__pg_watch(wire, UV_READABLE); break;
    case PGRES_POLLING_WRITING: stores__pg_watch(wire, UV_WRITABLE); break;
    default: connect_error(wire, &error); fail(wire, &error);
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
    fail(wire, &error);
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
