/*
 * After a write that Stores did not see: one row is invalidated, or a table is turned. Of a name
 * whose own rows are not cached, as those of a partition or a view, or not for this role, the
 * tables are turned whose rows it has.
 */
#include <stdio.h>

#include "base/ids.h"
#include "cache/cache.h"
#include "cache/held.h"
#include "cache/held_scripts.h"
#include "names/facts.h"
#include "names/names.h"
#include "replica/mark.h"

struct invalidation {
    struct stores__redis_req req;
    struct stores__table *table; /* held; NULL: not known yet */
    stores_op *op; /* NULL: it left */
    struct stores__pg_wait wait; /* for who is asked about the tables behind the name */
    struct stores__pg_req question;
    stores_error error;
    struct stores__epoch **behind; /* theirs, held */
    size_t count, turning;
    bool known, failed; /* they are; one of them could not be turned */
    int64_t id;
    bool row;
    bool asked_again; /* the connection was lost meanwhile, and the question was put once more */
    bool again; /* the same of the link, and what was sent */
    uint64_t failures; /* of the link, when it was sent */
};

static struct stores__redis_script script_invalidate = {.source = STORES__SCRIPT_INVALIDATE_HELD,
                                                        .follows = true};

/* What a partition is one of, and what the rules of a view, or a table, have to do with. */
static const char behind_sql[] =
    "WITH RECURSIVE behind AS (SELECT $1::pg_catalog.oid AS oid UNION SELECT x.oid FROM behind"
    " CROSS JOIN LATERAL (SELECT i.inhparent AS oid FROM pg_catalog.pg_inherits i"
    "  WHERE i.inhrelid = behind.oid"
    "  UNION ALL SELECT d.refobjid FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d"
    "  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid"
    "  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
    "  WHERE w.ev_class = behind.oid) x)"
    " SELECT behind.oid FROM behind JOIN pg_catalog.pg_class c ON c.oid = behind.oid"
    " WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'";

static void invalidation_free(struct invalidation *invalidation) {
    for (size_t i = 0; i < invalidation->count; i++) {
        stores__epoch_let_go(invalidation->behind[i]);
    }
    free(invalidation->behind);
    stores__table_let_go(invalidation->table);
    free(invalidation);
}

static stores_outcome leave(stores_op *op) {
    struct invalidation *invalidation = op->stage;
    invalidation->op = NULL;
    return STORES_OUTCOME_UNKNOWN;
}

static bool send_it(struct invalidation *invalidation);
static void turn_behind(struct invalidation *invalidation);

/* A link that was lost is made anew at once. */
static bool send_again(struct invalidation *invalidation) {
    const struct stores__cache *cache = invalidation->table->engine->cache;
    if (invalidation->again || !stores__cache_up(cache) ||
        stores__nodes_failures(cache) == invalidation->failures) {
        return false;
    }
    invalidation->again = true;
    if (!invalidation->known) return send_it(invalidation);
    turn_behind(invalidation);
    return true;
}

static void fail_untold(stores_op *op, const char *what) {
    const struct stores__cache *cache = op->engine->cache;
    if (stores__past_known(cache)) {
        stores__op_failf(op, STORES_CACHE_FAILURE, "%s: %s", what, stores__trouble_why(cache));
    } else {
        stores__op_failf(op, STORES_CACHE_FAILURE,
                         "the cache is the primary's, and only a standby was met, which does not"
                         " tell whose it is");
    }
}

static void answer(struct invalidation *invalidation, bool ok) {
    stores_op *op = invalidation->op;
    if (!ok && send_again(invalidation)) return;
    if (op != NULL && ok) {
        stores__op_finish(op);
    } else if (op != NULL) {
        fail_untold(op, "Redis did not take the invalidation");
    }
    invalidation_free(invalidation);
}

static void turned(void *arg, bool ok) {
    struct invalidation *invalidation = arg;
    if (ok) stores__epoch_end_turn(invalidation->table->epoch);
    answer(invalidation, ok);
}

static void let_go_of(void *arg, bool ok) {
    answer(arg, ok);
}

/* It was counted where processes hold rows of the table, and they are waited for. Where there is no
 * hash of them, and this process does not know under this very epoch that there need be none, the
 * table is turned: that finds out. */
static void tell_holders(struct invalidation *invalidation, const struct redisReply *reply) {
    struct stores__table *table = invalidation->table;
    stores__held_wrote(table->epoch, &invalidation->id);
    if (stores__redis_integer(reply, 0) == 1) {
        if (stores__facts_hold(table) && !stores__epoch_marked(table->epoch)) {
            answer(invalidation, true);
        } else if (!stores__epoch_turn(table->epoch, STORES__TURN_FREE, turned, invalidation)) {
            answer(invalidation, false);
        }
        return;
    }
    switch (stores__held_wait(table->epoch, reply, let_go_of, invalidation)) {
    case STORES__HELD_TOLD: answer(invalidation, true); break;
    case STORES__HELD_FAILED: answer(invalidation, false); break;
    case STORES__HELD_WAITS: break;
    }
}

static void invalidated(struct stores__redis_req *req, struct redisReply **reply) {
    struct invalidation *invalidation = STORES__CONTAINER(req, struct invalidation, req);
    struct stores__table *table = invalidation->table;
    size_t len = 0;
    const char *epoch = stores__redis_text(*reply, &len);
    enum stores__slot_says slot = stores__slot_says(*reply);
    if (epoch == NULL && (slot == STORES__SLOT_FINE || slot == STORES__SLOT_DOWN)) {
        tell_holders(invalidation, *reply);
        return;
    }
    /* the row has another key than we thought, or the slot moves, and not all of its keys are in
     * one place: the whole table is turned, which clears it as well */
    if (epoch != NULL) stores__epoch_seen(table->epoch, epoch, len);
    if (!stores__epoch_turn(table->epoch, STORES__TURN_FREE, turned, invalidation)) {
        answer(invalidation, false);
    }
}

static bool send_it(struct invalidation *invalidation) {
    struct stores__table *table = invalidation->table;
    struct stores__args args = {0};
    invalidation->failures = stores__nodes_failures(table->engine->cache);
    const char *epoch = stores__epoch_text(table);
    if (!invalidation->row || epoch[0] == '\0') {
        return stores__epoch_turn(table->epoch, STORES__TURN_FREE, turned, invalidation);
    }
    char fresh[17] = "";
    bool knows = stores__facts_hold(table) && stores__epoch_marked(table->epoch);
    if (knows && !stores__random_text(fresh, 16)) return false;
    stores__epoch_told(table->epoch);
    invalidation->req.done = invalidated;
    stores__args_epoch_key(&args, table->epoch);
    stores__args_row_key(&args, table, epoch, invalidation->id);
    stores__args_str(&args, epoch);
    stores__args_str(&args, stores__held_own(table->epoch));
    stores__args_str(&args, fresh);
    stores__args_str(&args, stores__ear_words(stores__epoch_node(table->epoch)));
    stores__args_longest(&args, table->epoch);
    return stores__args_send(&args, table->engine->cache, &invalidation->req, &script_invalidate,
                             2);
}

/* ---- The tables behind a name ---------------------------------------------------------------- */

static void turned_behind(void *arg, bool ok) {
    struct invalidation *invalidation = arg;
    if (!ok) invalidation->failed = true;
    if (--invalidation->turning > 0) return;
    for (size_t i = 0; i < invalidation->count; i++) {
        stores__epoch_end_turn(invalidation->behind[i]);
    }
    answer(invalidation, !invalidation->failed);
}

static void turn_behind(struct invalidation *invalidation) {
    const struct stores__cache *cache = invalidation->table->engine->cache;
    invalidation->failures = stores__nodes_failures(cache);
    invalidation->failed = false;
    invalidation->turning = 1; /* ours, so that answers cannot end it before all is sent */
    for (size_t i = 0; i < invalidation->count; i++) {
        struct stores__epoch *epoch = invalidation->behind[i];
        bool up = stores__node_up(stores__epoch_node(epoch)) && stores__past_known(cache);
        invalidation->turning++;
        if (!up || !stores__epoch_turn(epoch, STORES__TURN_FREE, turned_behind, invalidation)) {
            invalidation->turning--;
            invalidation->failed = true;
        }
    }
    turned_behind(invalidation, true);
}

static bool take_behind(struct invalidation *invalidation, const struct pg_result *result) {
    int rows = stores__pg_rows(result);
    invalidation->behind = calloc((size_t)rows + 1, sizeof *invalidation->behind);
    for (int row = 0; invalidation->behind != NULL && row < rows; row++) {
        const char *oid = stores__pg_value(result, row, 0, NULL);
        struct stores__epoch *epoch = NULL;
        if (oid != NULL) {
            epoch = stores__epoch_of(invalidation->table->engine, (uint32_t)strtoul(oid, NULL, 10));
        }
        if (epoch == NULL) return false;
        invalidation->behind[invalidation->count++] = epoch;
    }
    return invalidation->behind != NULL;
}

static void took_behind(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct invalidation *invalidation = STORES__CONTAINER(req, struct invalidation, question);
    (void)index;
    if (stores__pg_result_ok(result, &invalidation->error)) {
        invalidation->known = take_behind(invalidation, result);
        if (!invalidation->known) {
            stores__error_set(&invalidation->error, STORES_NO_MEMORY, "no memory for tables");
        }
    }
    stores__pg_result_free(result);
}

static void fail(struct invalidation *invalidation, const stores_error *error) {
    if (invalidation->op != NULL) stores__op_fail(invalidation->op, error);
    invalidation_free(invalidation);
}

static void ask_behind(struct invalidation *invalidation);

static void asked_behind(struct stores__pg_req *req, enum stores__pg_end end) {
    struct invalidation *invalidation = STORES__CONTAINER(req, struct invalidation, question);
    if (end == STORES__PG_LOST && !invalidation->known) {
        bool unanswered = invalidation->behind == NULL;
        if (unanswered && (!invalidation->asked_again || req->stalled)) {
            invalidation->asked_again = !req->stalled;
            ask_behind(invalidation);
            return;
        }
        stores__error_set(&invalidation->error, STORES_CONNECTION_LOST,
                          "the connection was lost while asking for the tables behind a name");
    }
    if (invalidation->known) {
        turn_behind(invalidation);
    } else {
        fail(invalidation, &invalidation->error);
    }
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct invalidation *invalidation = STORES__CONTAINER(wait, struct invalidation, wait);
    char oid[12];
    const char *values[] = {oid};
    snprintf(oid, sizeof oid, "%u", invalidation->table->oid);
    invalidation->question.again = true;
    invalidation->question.result = took_behind;
    invalidation->question.done = asked_behind;
    stores__pg_begin(conn, &invalidation->question);
    stores__pg_add(conn, &invalidation->question, behind_sql, 1, values, true);
    stores__pg_sync(conn, &invalidation->question);
}

static void not_granted(struct stores__pg_wait *wait, const stores_error *error) {
    fail(STORES__CONTAINER(wait, struct invalidation, wait), error);
}

static void ask_behind(struct invalidation *invalidation) {
    struct stores__pg_pool *pool = &invalidation->table->engine->pool;
    invalidation->wait.granted = granted;
    invalidation->wait.failed = not_granted;
    stores__pg_acquire(pool, &invalidation->wait, STORES__PG_READING, "lookups");
}

/* ---- Ops ------------------------------------------------------------------------------------- */

static void resolved(stores_op *op, struct stores__table *table) {
    struct invalidation *invalidation = op->stage;
    const struct stores__cache *cache = table->engine->cache;
    stores__mark_untold(op->engine); /* nor have replicas replayed it, as far as anybody knows */
    if (cache == NULL || cache->nameless) {
        stores__op_finish(op);
        return;
    }
    invalidation->table = stores__table_hold(table);
    if (!stores__cache_covers(table)) {
        op->leave = leave;
        op->dispose = NULL;
        ask_behind(invalidation);
        return;
    }
    if (!stores__node_up(stores__epoch_node(table->epoch)) || !stores__past_known(cache) ||
        !send_it(invalidation)) {
        fail_untold(op, "Redis is not reachable");
        return;
    }
    op->leave = leave;
    op->dispose = NULL;
}

static void dispose(stores_op *op) {
    invalidation_free(op->stage);
}

stores_op *stores_invalidate(stores_engine *engine, const stores_call *call, const char *table,
                             const int64_t *id) {
    stores_op *op = stores__op_new(engine, call);
    if (op == NULL || op->state != STORES__OP_PENDING) return op;
    struct invalidation *invalidation = calloc(1, sizeof *invalidation);
    if (invalidation == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory");
        return op;
    }
    stores__list_init(&invalidation->wait.link);
    invalidation->op = op;
    invalidation->row = id != NULL;
    invalidation->id = id ? *id : 0;
    op->stage = invalidation;
    op->dispose = dispose;
    op->resolved = resolved;
    stores__table_resolve(op, table);
    return op;
}
