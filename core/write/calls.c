/*
 * Calls that take a connection of their own, for they may take long: selects, and queries whose
 * writes nobody can name. One deadline covers waiting, running and reading; a caller that leaves
 * has its statement canceled on the server, and the connection counts until it is idle again.
 */
#include "write/calls_internal.h"

#include "pg/citus.h"
#include "sql/effect.h"

enum { LOST_TRIES = 1 }; /* runs of what only reads, after the first one */

/* ---- The end --------------------------------------------------------------------------------- */

static void ended(struct stores__pg_req *req, enum stores__pg_end end) {
    (void)end; /* a connection that is not idle is closed by the pool */
    stores__call_close(STORES__CONTAINER(req, struct stores__own_call, req));
}

static void send_rollback(struct stores__own_call *call) {
    call->req.done = ended;
    stores__call_send_rollback(call);
}

static void end_failed(struct stores__own_call *call, const stores_error *error) {
    stores__call_answer(call, error);
    if (call->conn != NULL && stores__pg_in_transaction(call->conn)) {
        send_rollback(call);
    } else {
        stores__call_close(call);
    }
}

static void committed(void *arg, const stores_error *error) {
    struct stores__own_call *call = arg;
    call->commit = NULL;
    stores__call_answer(call, error);
    stores__call_close(call);
}

/* ---- Turns around a statement that commits itself -------------------------------------------- */

static void turned_first(struct stores__own_call *call) {
    bool refuse = call->engine->config.on_cache_failure == STORES_CACHE_FAILURE_ERROR;
    if (call->turn_failed && refuse) {
        stores__call_fail(call, STORES_CACHE_FAILURE, "Redis could not be told");
        end_failed(call, call->error);
        return;
    }
    if (call->turn_failed) stores__call_bypass_turns(call);
    if (call->op == NULL) {
        end_failed(call, NULL);
    } else {
        stores__call_send_text(call);
    }
}

static void turn_first(struct stores__own_call *call) {
    if (stores__commit_is_refused(call->commit)) {
        /* a statement whose tables cannot be told to Redis is not sent */
        stores__call_fail(call, STORES_NO_MEMORY, "no memory for the tables that the query writes");
        end_failed(call, call->error);
        return;
    }
    call->turned = stores__commit_turns(call->commit, &call->turned_count);
    stores__commit_free(call->commit);
    call->commit = NULL;
    call->step = CALL_TURNING;
    stores__call_turn(call, turned_first);
}

static void turned_again(struct stores__own_call *call) {
    if (call->turn_failed) stores__call_bypass_turns(call);
    end_failed(call, call->error);
}

/* The first turn may have ended before the statement locked. */
static void turn_again(struct stores__own_call *call) {
    call->step = CALL_TURNING_AGAIN;
    stores__call_turn(call, turned_again);
}

/* ---- Running --------------------------------------------------------------------------------- */

/* No COMMIT of ours follows the statement: what the server does of it stays. It is done when the
 * connection is idle again, and no sooner: a result alone comes before the commit. */
static bool commits_itself(const struct stores__own_call *call) {
    if (call->step != CALL_RUNNING || call->select || call->options.readonly) return false;
    return call->way == WAY_ITSELF || call->way == WAY_LONE;
}

/* Outside of transactions it failed, and may have committed a part of its work before that. What
 * PostgreSQL points at in the text was refused before anything ran. */
static bool did_a_part(const struct stores__own_call *call) {
    bool outside = (call->way == WAY_ITSELF || call->way == WAY_LONE) && !call->select;
    bool refused = call->error != NULL && call->error->position > 0;
    return outside && call->step == CALL_RUNNING && call->req.sent && !refused &&
           stores__sql_commits_inside(call->sql);
}

/* It was said to read only, nothing kept it from writing, and no answer tells what it did. */
static bool may_have_written(const struct stores__own_call *call) {
    return call->way == WAY_ITSELF && call->options.readonly && call->step == CALL_RUNNING &&
           call->req.sent && stores__sql_may_write(call->sql, call->options.simple);
}

static void untold(struct stores__own_call *call) {
    stores__turn_all(call->engine);
    call->renames = true;
}

/* Of several statements some were committed by one of their own before the others failed. Where the
 * connection is lost their words alone may tell that they ended the transaction they ran in. */
static bool did_some(const struct stores__own_call *call, bool lost) {
    if (call->step != CALL_RUNNING || !call->options.simple) return false;
    if (call->way == WAY_ITSELF) return call->result != NULL && !lost;
    if (lost) return call->ended || stores__sql_may_control(call->sql);
    return call->ended || !stores__pg_in_transaction(call->conn);
}

/* Nobody knows what the text wrote, which was to read only, or to stay in its transaction. */
static void turn_untold(struct stores__own_call *call, bool some) {
    bool named = call->way == WAY_ITSELF && !call->options.readonly;
    if (!named && (some || did_a_part(call))) stores__turn_all(call->engine);
    if (some) call->renames = true;
}

/* A statement that commits itself may have done part of its work, or all of it. */
static void failed(struct stores__own_call *call) {
    bool some = did_some(call, call->error->code == STORES_CONNECTION_LOST);
    bool part = commits_itself(call) &&
                (did_a_part(call) || stores__pg_in_doubt(call->conn, call->error));
    turn_untold(call, some);
    if (some || part) stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    if (call->turned_count > 0 && call->step == CALL_RUNNING) {
        turn_again(call);
    } else {
        end_failed(call, call->error);
    }
}

/* What only reads, and lost its connection or was canceled by somebody else, runs once more, on
 * another connection. */
static bool run_again(struct stores__own_call *call) {
    bool reads = call->select || call->options.readonly;
    if (!reads || call->op == NULL || stores__closing(call->engine) || call->tries >= LOST_TRIES) {
        return false;
    }
    struct stores__pg_conn *conn = call->conn;
    call->tries++;
    call->conn = NULL;
    call->op->retries++;
    stores__error_free(call->error);
    call->error = NULL;
    stores__pg_release(conn);
    stores__call_run(call);
    return true;
}

/* A coordinator of Citus lost one, and says so on a connection that goes on. */
static bool lost_worker(const struct stores__own_call *call) {
    return call->step == CALL_RUNNING && call->error != NULL &&
           call->error->code == STORES_CONNECTION_LOST;
}

static bool lost(struct stores__own_call *call, enum stores__pg_end end) {
    if (end != STORES__PG_LOST && !lost_worker(call)) {
        bool stray = call->error != NULL && call->stray_cancel;
        return call->step == CALL_RUNNING && stray && run_again(call);
    }
    if (call->error == NULL || call->error->code != STORES_CONNECTION_LOST) {
        stores__call_fail(call, STORES_CONNECTION_LOST,
                          "the connection was lost while the statement ran");
    }
    bool wrote = may_have_written(call);
    if (wrote) untold(call);
    if (run_again(call)) return true;
    if (wrote || (commits_itself(call) && call->req.sent)) {
        stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    }
    failed(call);
    return true;
}

/* The transaction is open and the statement has run: what it wrote is known, or was not asked. */
static void end_transaction(struct stores__own_call *call) {
    struct stores__commit *commit = call->commit ? call->commit : stores__commit_new(call->engine);
    if (commit == NULL) {
        stores__call_fail(call, STORES_NO_MEMORY, "no memory for a COMMIT");
        end_failed(call, call->error);
        return;
    }
    call->commit = NULL;
    call->step = CALL_COMMITTING;
    stores__commit_start(commit, call->conn, committed, call);
}

/* A text of the caller ended our transaction, and perhaps began another one. */
static void was_ended(struct stores__own_call *call) {
    stores__turn_all(call->engine);
    call->renames = true;
    stores__call_fail(call, STORES_UNSUPPORTED,
                      "the statements ended the transaction that they ran in");
    stores__error_outcome(&call->error, STORES_OUTCOME_UNKNOWN);
    end_failed(call, call->error);
}

static void succeeded(struct stores__own_call *call) {
    stores__call_answer(call, NULL);
    stores__call_close(call);
}

/* The caller's text has run, without a failure. */
static void ran(struct stores__own_call *call) {
    bool open = stores__pg_in_transaction(call->conn);
    switch (call->way) {
    case WAY_ITSELF:
        if (call->turned_count > 0) {
            turn_again(call);
        } else {
            succeeded(call);
        }
        break;
    case WAY_SEVERAL:
        if (!open || call->ended) {
            was_ended(call);
        } else if (call->commit != NULL) {
            stores__call_ask_locks(call);
        } else {
            end_transaction(call);
        }
        break;
    default:
        if (open) {
            end_transaction(call);
        } else {
            succeeded(call);
        }
    }
}

static void over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__own_call *call = STORES__CONTAINER(req, struct stores__own_call, req);
    stores__pg_insist_over(&call->insist);
    if (call->wrote) stores__turn_all(call->engine);
    call->wrote = false;
    if (lost(call, end)) return;
    if (call->error != NULL) {
        failed(call);
        return;
    }
    /* the caller left: what a transaction did is not kept, what was not sent yet is not sent */
    if (call->op == NULL && (call->way != WAY_ITSELF || call->step == CALL_NAMES)) {
        turn_untold(call, did_some(call, false));
        end_failed(call, NULL);
        return;
    }
    switch (call->step) {
    case CALL_NAMES: turn_first(call); break;
    case CALL_BEGIN: stores__call_send_simple(call); break;
    case CALL_RUNNING: ran(call); break;
    case CALL_LOCKS: end_transaction(call); break;
    default: end_failed(call, call->error);
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__own_call *call = STORES__CONTAINER(wait, struct stores__own_call, wait);
    call->conn = conn;
    if (call->op != NULL) stores__op_phase(call->op, STORES__PHASE_POSTGRES);
    stores__error_free(call->error);
    call->error = NULL;
    call->req.result = stores__call_took;
    call->req.done = over;
    if (call->options.readonly && call->way != WAY_ITSELF) { /* that one nobody keeps from it */
        call->req.kept = call->select ? STORES__PG_KEPT_IN_READS : STORES__PG_KEPT_BY_CALL;
    }
    if (call->way == WAY_ITSELF && call->invalidates != NULL && call->commit != NULL) {
        stores__call_ask_names(call);
    } else {
        stores__call_send_text(call);
    }
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__own_call *call = STORES__CONTAINER(wait, struct stores__own_call, wait);
    stores__call_answer(call, error);
    stores__call_free(call);
}

static enum stores__call_way way_of(const struct stores__own_call *call) {
    if (call->options.autocommit) return WAY_ITSELF;
    if (call->options.simple) return WAY_SEVERAL;
    /* a text of which it is not known that it only reads is kept from writing by the server */
    if (call->options.readonly) return WAY_READS;
    return call->commit != NULL ? WAY_ASKED : WAY_LONE;
}

void stores__call_run(struct stores__own_call *call) {
    call->step = CALL_WAITING;
    call->way = way_of(call);
    if (call->replica && call->op != NULL && stores__call_try_replica(call, stores__call_run)) {
        return;
    }
    if (call->op != NULL) stores__op_phase(call->op, stores__pg_wait_phase(&call->engine->pool));
    call->wait.urgent = call->op != NULL && !stores__list_empty(&call->op->inside_link);
    call->wait.granted = granted;
    call->wait.failed = refused;
    stores__pg_acquire(&call->engine->pool, &call->wait, STORES__PG_CHECKED_OUT, "queries");
}

stores_outcome stores__call_leave(stores_op *op) {
    struct stores__own_call *call = op->stage;
    call->op = NULL;
    switch (call->step) {
    case CALL_WAITING:
        if (call->asking != NULL) stores__asking_leave(call->asking);
        stores__pg_unwait(&call->wait);
        stores__call_free(call);
        return STORES_OUTCOME_NONE;
    case CALL_COMMITTING:
        stores__pg_give_up_in(call->conn, STORES__PG_GRACE_MS);
        return STORES_OUTCOME_UNKNOWN;
    case CALL_TURNING_AGAIN:
        return call->error != NULL ? call->error->outcome : STORES_OUTCOME_COMMITTED;
    case CALL_ENDING:
    case CALL_TURNING: return STORES_OUTCOME_NONE;
    default: break;
    }
    bool some = did_some(call, true), wrote = may_have_written(call);
    if (wrote) untold(call);
    if (commits_itself(call)) stores__mark_untold(call->engine);
    turn_untold(call, some); /* so far; the rest when it is over */
    stores__pg_insist(&call->insist, call->conn);
    return commits_itself(call) || some || wrote ? STORES_OUTCOME_UNKNOWN : STORES_OUTCOME_NONE;
}
