/*
 * What a call on a transaction sends, and what its results are of:
 *
 *     BEGIN, SET LOCAL      where it is the first call
 *     facts_at              the facts of the table, where they are in doubt
 *     path_at               what names mean, where the statement may change that
 *     SAVEPOINT, SET LOCAL  where the server is to keep it from writing
 *     at                    its own statement
 *     at + 1                what is asked behind it (enum stores__txop_behind)
 *     at + 2                behind a transaction pooler, behind the first write: the server's past
 *     path_behind           what names mean now
 */
#include <inttypes.h>
#include <stdio.h>

#include "pg/citus.h"
#include "sql/effect.h"
#include "write/tx_internal.h"

void stores__tx_keep_error(stores_tx *tx, stores_error *error) {
    stores__error_free(tx->error);
    tx->error = error;
}

/* ---- Results --------------------------------------------------------------------------------- */

static void take_answer(stores_tx *tx, struct pg_result *result) {
    struct stores__txop *txop = tx->txop;
    enum stores__taken taken;
    stores_error error;
    bool ok = true;
    switch (txop->kind) {
    case TXOP_FIND:
        if (tx->op != NULL) {
            ok = stores__tx_keep_documents(tx->op, result);
        } else {
            stores__pg_result_free(result);
        }
        break;
    case TXOP_WRITE:
        taken = stores__statement_take(txop->statement, tx->op, result, tx->commit, &error);
        txop->unsure = taken == STORES__TAKE_UNSURE;
        tx->failed = taken == STORES__TAKE_FAILED;
        if (tx->failed) stores__tx_keep_error(tx, stores__error_dup(&error));
        if (stores__statement_fires(txop->statement)) stores__pg_foreign(tx->conn, NULL);
        break;
    case TXOP_BULK: stores__tx_bulk_took(tx, result); /* fall through */
    default:
        if (txop->result == NULL || stores__pg_has_rows(result) ||
            !stores__pg_has_rows(txop->result)) {
            if (txop->result != NULL) stores__pg_result_free(txop->result);
            txop->result = result;
        } else {
            stores__pg_result_free(result);
        }
    }
    if (!ok) {
        tx->failed = true;
        stores__tx_keep_error(tx, stores__error_new(STORES_NO_MEMORY, "no memory for a document"));
    }
}

/* What a session wrote is committed, and nobody was told: nor does it say which tables. */
static bool session_wrote(const struct stores__txop *txop, const char *tag) {
    if (txop->statement != NULL) return stores__statement_reaches(txop->statement);
    return txop->kind == TXOP_QUERY && stores__sql_may_have_written(txop->sql, txop->simple, tag);
}

bool stores__tx_commits_itself(const stores_tx *tx) {
    const struct stores__txop *txop = tx->txop;
    if (tx->options.session) return true;
    return txop != NULL && txop->kind == TXOP_QUERY &&
           (txop->ended || stores__sql_may_control(txop->sql));
}

/* The server has said how the text ended, and it committed nothing that was not told. Where it
 * ended the transaction it ran in that is said by its tags. */
static bool is_told(const stores_tx *tx, const struct stores__txop *txop) {
    return !tx->failed || (tx->options.session && !txop->partly);
}

/* A session's SELECT is a transaction with what stands behind it up to the Sync. What it calls by a
 * view or an operator its words do not tell. */
static bool asks_what_was_called(const stores_tx *tx, const struct stores__txop *txop) {
    bool reads = txop->kind == TXOP_SELECT || (txop->kind == TXOP_FIND && txop->table->runs);
    return tx->options.session && tx->engine->cache != NULL &&
           (reads || txop->kind == TXOP_QUERY) && stores__sql_stands_anywhere(txop->sql);
}

static bool may_commit_untold(const stores_tx *tx, const struct stores__txop *txop) {
    if (txop->kind == TXOP_QUERY) return stores__tx_commits_itself(tx);
    if (!tx->options.session) return false;
    if (txop->statement != NULL) return stores__statement_reaches(txop->statement);
    return asks_what_was_called(tx, txop);
}

void stores__tx_text_over(stores_tx *tx, bool answered) {
    const struct stores__txop *txop = tx->txop;
    if (tx->options.session) stores__mark_untold(tx->engine);
    if (txop == NULL) return;
    bool untold = (!answered || !is_told(tx, txop)) && may_commit_untold(tx, txop);
    if (untold || txop->wrote) stores__turn_all(tx->engine);
    if (untold || txop->renames) stores__table_forget_names(tx->engine);
}

/* Of the op's own statement, and not of our BEGIN or what stands behind. */
static bool is_own(const struct stores__txop *txop, int index) {
    return txop->simple ? txop->at >= 0 : index == txop->at;
}

/* What a session does failed, and may have committed a part of its work before that: by itself, or
 * as some of several statements; or all of it, where its answer cannot be read. What PostgreSQL
 * points at was refused before anything ran. */
static bool did_a_part(const struct stores__txop *txop, const stores_error *error) {
    if (txop->kind != TXOP_QUERY && txop->statement == NULL) return false;
    if (error->sqlstate[0] == '\0' || (txop->simple && txop->result != NULL)) return true;
    if (txop->kind != TXOP_QUERY) return false;
    return error->position <= 0 && stores__sql_commits_inside(txop->sql);
}

static void failed(stores_tx *tx, int index, stores_error *error) {
    struct stores__txop *txop = tx->txop;
    if (tx->failed || error->code == STORES_OK) return;
    tx->failed = true;
    stores__pg_explain_read_only(&tx->req, error);
    stores__pg_heed(tx->conn, error);
    bool own = is_own(txop, index);
    tx->keeps = tx->keeps || tx->saves || (own && txop->guarded);
    /* it committed itself, perhaps on another server */
    txop->partly = tx->options.session &&
                   (stores__pg_in_doubt(tx->conn, error) || (own && did_a_part(txop, error)));
    if (txop->partly) {
        error->outcome = STORES_OUTCOME_UNKNOWN;
        error->retryable = false;
    }
    if (own && txop->copy != NULL) stores__tx_copy_refused(tx, error);
    if (own && txop->kind == TXOP_WRITE) {
        stores__statement_explain(txop->statement, error);
    } else if (own && txop->sql != NULL) {
        const struct stores__statement *statement = txop->statement;
        stores__table_explain(txop->table, statement ? statement->sql : txop->sql, error);
    }
    if (stores__pg_stale_plan(&tx->req)) {
        /* the transaction failed with it; as after any conflict, the next run of it works */
        stores__pg_forget_statements(tx->conn);
        error->code = STORES_SERIALIZATION;
        error->retryable = true;
    }
    stores__tx_keep_error(tx, stores__error_dup(error));
}

/* What a text does to names, where no locks tell: what a session wrote is committed already. */
static void note_names(stores_tx *tx, const char *tag) {
    struct stores__txop *txop = tx->txop;
    bool locks_tell = tx->engine->cache != NULL && !tx->options.session;
    if (txop->kind != TXOP_QUERY || locks_tell) return;
    if (!stores__sql_renames(txop->sql, txop->simple, tag)) return;
    if (tx->options.session) {
        txop->renames = true;
    } else {
        tx->renames = true;
    }
}

/* The result of the op's own statement is kept, or freed. */
static void take_own(stores_tx *tx, struct pg_result *result) {
    struct stores__txop *txop = tx->txop;
    const char *tag = txop->kind == TXOP_QUERY ? stores__pg_tag(result) : "";
    if (!tx->options.session && stores__sql_tag_controls(tag)) txop->ended = true;
    if (strcmp(tag, "SAVEPOINT") == 0) tx->saves = true;
    note_names(tx, tag);
    if (tx->options.session && session_wrote(txop, tag)) {
        txop->wrote = true;
        txop->behind = BEHIND_NOTHING; /* it is known */
    }
    take_answer(tx, result);
}

static void take_behind(stores_tx *tx, const struct pg_result *result) {
    if (tx->txop->behind == BEHIND_WROTE) {
        if (stores__pg_value(result, 0, 0, NULL) == NULL) return;
        tx->txop->wrote = tx->txop->renames = true;
    } else if (tx->txop->behind != BEHIND_NOTHING) {
        stores__commit_take_xid(tx->commit, result);
        tx->xid_known = true;
        if (tx->txop->behind == BEHIND_PRINT) stores__tx_confirm_facts(tx, result);
    }
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    stores_tx *tx = STORES__CONTAINER(req, stores_tx, req);
    const struct stores__txop *txop = tx->txop;
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        failed(tx, index, &error);
    } else if (txop->facts_at >= 0 && index == txop->facts_at) {
        stores__tx_take_facts(tx, result);
    } else if (stores__tx_path_take(tx, index, result)) {
        /* it was of that */
    } else if (is_own(txop, index)) {
        take_own(tx, result);
        return;
    } else if (index == txop->at + 1) {
        take_behind(tx, result);
    } else if (index == txop->at + 2 && txop->behind != BEHIND_NOTHING && tx->commit != NULL) {
        stores__commit_take_past(tx->commit, result);
    }
    stores__pg_result_free(result);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static const char *begin_sql(const stores_tx *tx) {
    static const char *const texts[3][2] = {
        {"BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"},
        {"BEGIN ISOLATION LEVEL REPEATABLE READ",
         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
        {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"}};
    return texts[tx->options.isolation][tx->options.readonly];
}

static void add_savepoint(stores_tx *tx, const char *what, int depth) {
    char text[80];
    snprintf(text, sizeof text, "%s stores_%016" PRIx64 "_%d", what, tx->engine->chance, depth);
    stores__pg_add(tx->conn, &tx->req, text, 0, NULL, true);
}

/* A cursor WITH HOLD that a function opened runs inside of the commit, behind the question. */
static const char wrote_sql[] =
    "SELECT coalesce(pg_catalog.pg_current_xact_id_if_assigned()::text, (SELECT 'a cursor'"
    " FROM pg_catalog.pg_cursors c WHERE c.is_holdable"
    " AND c.creation_time >= pg_catalog.transaction_timestamp() LIMIT 1))";

bool stores__tx_owes(const stores_tx *tx) {
    const struct stores__txop *txop = tx->txop;
    return txop->copy != NULL ? stores__tx_copy_owes(tx) : txop->simple && txop->at < 0;
}

static void add_op(stores_tx *tx, struct stores__txop *txop, bool confirms) {
    struct stores__pg_conn *conn = tx->conn;
    switch (txop->kind) {
    case TXOP_WRITE:
        stores__statement_choose(txop->statement, tx->options.session); /* fall through */
    case TXOP_BULK:
        stores__pg_add(conn, &tx->req, txop->statement->sql, txop->statement->count,
                       txop->statement->values, true);
        stores__tx_add_behind(tx, confirms);
        break;
    case TXOP_SAVEPOINT: add_savepoint(tx, "SAVEPOINT", tx->depth + 1); break;
    case TXOP_ROLLBACK_TO:
        /* which begins it anew: what came after it would be in it, and the next one, too */
        add_savepoint(tx, "ROLLBACK TO SAVEPOINT", tx->depth); /* fall through */
    case TXOP_RELEASE: add_savepoint(tx, "RELEASE SAVEPOINT", tx->depth); break;
    default:
        if (txop->guarded) {
            /* what the caller says only reads cannot write: COMMIT would not ask about it */
            stores__pg_add(conn, &tx->req, "SAVEPOINT stores_reads", 0, NULL, true);
            stores__pg_add(conn, &tx->req, "SET LOCAL transaction_read_only = on", 0, NULL, true);
            stores__commit_closes(tx->commit);
            txop->at = tx->req.added;
        }
        stores__pg_add(conn, &tx->req, txop->sql, txop->count, txop->values,
                       txop->kind == TXOP_FIND);
        if (txop->guarded) {
            stores__pg_add(conn, &tx->req, "RELEASE SAVEPOINT stores_reads", 0, NULL, true);
        }
        if (asks_what_was_called(tx, txop)) {
            txop->behind = BEHIND_WROTE;
            stores__pg_add(conn, &tx->req, wrote_sql, 0, NULL, true);
        }
    }
}

/* The session's limit is right for a transaction that lasts as long as a call; a transaction pooler
 * has no session. Where nobody turns the loop the server ends it, soon after its deadline. */
static void add_idle_limit(stores_tx *tx) {
    const struct stores__pg_pool *pool = &tx->engine->pool;
    uint64_t asked = tx->options.timeout_ms;
    uint64_t ms = asked ? stores__pg_idle_limit(asked) : pool->common.params.idle_ms;
    char text[80];
    if (!pool->pooler && ms == pool->common.params.idle_ms) return;
    snprintf(text, sizeof text, "SET LOCAL idle_in_transaction_session_timeout = %llu",
             (unsigned long long)ms);
    stores__pg_add(tx->conn, &tx->req, text, 0, NULL, false);
}

/* The caller's text in what is sent; NULL: there is none. */
static const char *foreign_text(const struct stores__txop *txop) {
    const struct stores__statement *statement = txop->statement;
    if (statement != NULL) return statement->foreign ? statement->sql : NULL;
    return txop->kind == TXOP_QUERY || txop->kind == TXOP_SELECT ? txop->sql : NULL;
}

static enum stores__pg_kept kept(const stores_tx *tx, const struct stores__txop *txop) {
    if (tx->options.readonly || txop->readonly) return STORES__PG_KEPT_BY_CALL;
    return txop->guarded ? STORES__PG_KEPT_IN_READS : STORES__PG_MAY_WRITE;
}

void stores__tx_send(stores_tx *tx) {
    struct stores__txop *txop = tx->txop;
    if (tx->op != NULL) stores__op_phase(tx->op, STORES__PHASE_POSTGRES);
    bool begin = !tx->begun && !tx->options.session, confirms = false;
    tx->failed = false;
    tx->keeps = tx->keeps && stores__pg_has_failed(tx->conn);
    txop->facts_at = txop->path_at = txop->path_behind = -1;
    txop->begun_here = begin;
    tx->req.result = took;
    tx->req.kept = kept(tx, txop);
    if (foreign_text(txop) != NULL) stores__pg_foreign(tx->conn, foreign_text(txop));
    /* what a view or a policy runs may leave something in the session, as a trigger may */
    if (txop->table != NULL && txop->table->runs) stores__pg_foreign(tx->conn, NULL);
    if (txop->simple && !begin) {
        txop->at = 0;
        stores__pg_simple(tx->conn, &tx->req, txop->sql);
        return;
    }
    if (txop->copy != NULL && stores__tx_copy_send(tx, begin)) return;
    stores__pg_begin(tx->conn, &tx->req);
    if (begin) {
        stores__pg_add(tx->conn, &tx->req, begin_sql(tx), 0, NULL, true);
        add_idle_limit(tx);
    }
    if (txop->statement != NULL && tx->engine->cache != NULL && !tx->options.session) {
        confirms = stores__tx_add_facts(tx);
    }
    if (!txop->simple && txop->copy == NULL) stores__tx_path_before(tx);
    txop->at = tx->req.added;
    if (txop->simple || txop->copy != NULL) {
        txop->at = -1;
        if (txop->copy != NULL) txop->copy->confirms = confirms;
    } else {
        add_op(tx, txop, confirms);
        stores__tx_path_behind(tx);
    }
    stores__pg_sync(tx->conn, &tx->req);
}
