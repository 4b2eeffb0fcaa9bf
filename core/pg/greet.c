/*
 * greet.c - a new session says who its server is, and what some are asked besides.
 *
 *   ask --> greeting_done --> place --> judge --> go_up --> ready()
 *    ^         |     |          ^ |       ^          |         ^
 *    +---------+     +-ask_mark-+ |       |          |         |
 *   less, or the                  +-ask_place        +-on_connect
 *   settings by a statement                                        and pins
 *
 * ask_mark: a relation has the name of a shard's table; ask_place: it is one, or there is Citus.
 * Each of them may end in stores__pg_connect_failed.
 */
#include "pg/citus.h"
#include "pg/wire.h"

static struct stores__pg_wire *wire_of(struct stores__pg_req *req) {
    return STORES__CONTAINER(req, struct stores__pg_wire, greeting);
}

/* The next request of the greeting. */
static void begin(struct stores__pg_wire *wire,
                  void (*result)(struct stores__pg_req *, int, struct pg_result *),
                  void (*done)(struct stores__pg_req *, enum stores__pg_end)) {
    wire->greeting.result = result;
    wire->greeting.done = done;
    stores__pg_begin(wire->conn, &wire->greeting);
}

static void add(struct stores__pg_wire *wire, const char *sql) {
    stores__pg_add(wire->conn, &wire->greeting, sql, 0, NULL, false);
}

/* A statement of the user's, without which the session is not what was asked for. */
static void fail_refused(struct stores__pg_wire *wire, const char *what) {
    stores_error error;
    stores__error_set(&error, STORES_CONNECT_FAILED, "%s: %s", what, wire->refused.message);
    memcpy(error.sqlstate, wire->refused.sqlstate, sizeof error.sqlstate);
    error.retryable = false;
    stores__pg_connect_failed(wire, &error);
}

static void greeted(struct stores__pg_req *req, int index, struct pg_result *result);
static void greeting_done(struct stores__pg_req *req, enum stores__pg_end end);

/* One statement, for a lone statement is what a transaction pooler passes on untouched. */
static void ask(struct stores__pg_wire *wire) {
    begin(wire, greeted, greeting_done);
    const char *settings = wire->conn->common->params.settings;
    if (settings != NULL) add(wire, settings);
    struct stores__buf sql = {0};
    stores__buf_fmt(&sql, "SELECT %s, %s, %s%s, %s",
                    stores__pg_identity_columns(wire->conn->common->identity_asked),
                    STORES__PG_SHARD_NAMED,
                    /* a session behind a pooler is somebody else's, too */
                    wire->pooler ? STORES__PG_CITUS_HAS : STORES__PG_CITUS_COLUMN,
                    stores__pg_checks_client(wire) ? ", " STORES__PG_CHECK_SQL : "",
                    stores__pg_session_columns);
    memset(&wire->not_told, 0, sizeof wire->not_told);
    add(wire, stores__buf_text(&sql));
    stores__buf_free(&sql);
    stores__pg_sync(wire->conn, &wire->greeting);
}

static void greeted(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = wire_of(req);
    stores_error error;
    bool last = index == wire->greeting.added - 1;
    if (!stores__pg_result_ok(result, &error)) {
        *(last ? &wire->not_told : &wire->refused) = error; /* else it is the settings */
    } else if (last) {
        stores__pg_identity_take(&wire->conn->identity, result);
        const char *named = stores__pg_value(result, 0, STORES__PG_IDENTITY_COLUMNS, NULL);
        wire->has_shard = named != NULL && named[0] == 't';
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
    struct stores__pg_wire *wire = wire_of(req);
    stores_error error;
    (void)index;
    if (!stores__pg_result_ok(result, &error) && wire->refused.code == STORES_OK) {
        wire->refused = error;
    }
    stores__pg_result_free(result);
}

static void pinned(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = wire_of(req);
    if (end == STORES__PG_LOST) return;
    if (wire->refused.code == STORES_OK) {
        set_up(wire);
    } else {
        fail_refused(wire, "the session cannot be set up behind on_connect");
    }
}

/* A COPY in it ends the connection, which says less than that. */
static bool is_only_lost(const struct stores__pg_wire *wire) {
    return wire->refused.code == STORES_OK || wire->refused.code == STORES_CONNECTION_LOST;
}

static void on_connect_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = wire_of(req);
    if (end == STORES__PG_LOST && is_only_lost(wire)) return;
    if (wire->refused.code == STORES_OK && stores__pg_in_transaction(wire->conn)) {
        stores__error_set(&wire->refused, STORES_INVALID_OPTION,
                          "on_connect leaves a transaction open");
    }
    if (wire->refused.code == STORES_OK) {
        begin(wire, took_on_connect, pinned);
        add(wire, stores__pg_session_pins);
        stores__pg_sync(wire->conn, &wire->greeting);
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
    stores__pg_connect_failed(wire, &error);
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
    stores__pg_connect_failed(wire, &error);
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
        stores__pg_connect_failed(wire, &error);
    }
}

static void took_place(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = wire_of(req);
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
    struct stores__pg_wire *wire = wire_of(req);
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
    begin(wire, took_place, place_done);
    if (wire->has_shard) {
        stores__pg_shard_read(&wire->conn->shard, &sql);
        add(wire, stores__buf_text(&sql));
    }
    if (wire->conn->citus) {
        add(wire, STORES__PG_CITUS_GROUP);
    }
    stores__buf_free(&sql);
    stores__pg_sync(wire->conn, &wire->greeting);
}

static void place(struct stores__pg_wire *wire) {
    if (wire->has_shard || wire->conn->citus) {
        ask_place(wire);
    } else {
        judge(wire);
    }
}

static void took_mark(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__pg_wire *wire = wire_of(req);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error)) {
        wire->has_shard = stores__pg_shard_mark(&wire->conn->shard,
                                                stores__pg_value(result, 0, 0, NULL));
    } else {
        wire->not_told = error;
    }
    stores__pg_result_free(result);
}

static void mark_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = wire_of(req);
    if (end == STORES__PG_LOST) return;
    if (wire->not_told.code != STORES_OK) {
        fail_unknown(wire);
    } else {
        place(wire);
    }
}

static void ask_mark(struct stores__pg_wire *wire) {
    begin(wire, took_mark, mark_done);
    add(wire, "SELECT " STORES__PG_SHARD_COLUMN);
    stores__pg_sync(wire->conn, &wire->greeting);
}

static void greeting_done(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__pg_wire *wire = wire_of(req);
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
    } else if (wire->has_shard) {
        ask_mark(wire);
    } else {
        place(wire);
    }
}

void stores__pg_greet(struct stores__pg_wire *wire) {
    stores__pg_enter(wire, WIRE_GREETING);
    wire->on_socket = stores__pg_on_answer;
    stores__pg_watch(wire, UV_READABLE);
    ask(wire);
}
