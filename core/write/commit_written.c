/* What a transaction wrote: its number, the rows that it names, and the tables that are turned. */
#include "write/commit_internal.h"

#include "names/facts.h"
#include "names/names.h"

const char stores__commit_xid_sql[] = "SELECT pg_catalog.pg_current_xact_id()::text";
const char stores__commit_close_sql[] = "CLOSE ALL";
const char stores__commit_xid_if_any_sql[] =
    "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text";

#define SECONDS(schema)                                                                            \
    "(SELECT pg_catalog.max(s) FROM pg_catalog.generate_series(1, 10) s"                           \
    "  WHERE pg_catalog.to_regtype(pg_catalog.format('%I.%I', " schema ", 'stores_held_'"          \
    "  || tree.oid::text || CASE s WHEN 1 THEN '' ELSE '_' || s END)) IS NOT NULL)"
#define SECONDS_THERE SECONDS("n.nspname")
#define SECONDS_ANYWHERE SECONDS("o.nspname")
#define OWN "pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.xid"
#define OF_OTHERS " AND l.xmin IS DISTINCT FROM " OWN
#define SECONDS_OF_OTHERS STORES__MARK_SECONDS("tree.oid::text", OF_OTHERS)
#define NAME STORES__MARK_NAME("tree.oid::text")

/* How many seconds the leases of those last at most who hold rows of it, as others have said; -1:
 * this transaction makes the first mark. Who makes one has locked all of them out, and it counts
 * once that is committed. A snapshot of before does not see it; the names of types are as they are
 * now. Of a table that is dropped in such a snapshot nobody knows where it was. */
#define MARKED                                                                                     \
    "CASE WHEN pg_catalog.current_setting('transaction_isolation') = 'read committed' THEN"        \
    "  (SELECT pg_catalog.max(CASE WHEN m.xmin = " OWN " THEN -1 ELSE " SECONDS_OF_OTHERS          \
    "  END) FROM pg_catalog.pg_class m WHERE m.relname = " NAME ")"                                \
    " WHEN c.oid IS NULL THEN coalesce((SELECT pg_catalog.max(" SECONDS_ANYWHERE                   \
    ") FROM pg_catalog.pg_namespace o), 1) ELSE " SECONDS_THERE " END"

/* Behind the question nothing is written any more, also by what runs inside of COMMIT. */
#define LAST_WORD " AND pg_catalog.set_config('transaction_read_only', 'on', true) = 'on'"

/* What the transaction itself locked for writing, or more strongly, and what those are partitions
 * of. What it dropped has no row in the catalog any more, but its oid is what it always was. A
 * schema that was given another name, which pg_namespace tells, is one that others may have had:
 * any table may be meant by other names from now on. */
#define LOCKS(last, reached)                                                                       \
    "WITH RECURSIVE locked AS ("                                                                   \
    " SELECT l.relation AS oid, l.mode <> 'RowExclusiveLock' AS ddl FROM pg_catalog.pg_locks l"    \
    " WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() AND l.granted"         \
    " AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"                \
    " 'AccessExclusiveLock') AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d"         \
    "  WHERE d.datname = pg_catalog.current_database())" last "),"                                 \
    " tree AS (SELECT locked.oid, locked.ddl FROM locked UNION SELECT r.oid, true"                 \
    " FROM pg_catalog.pg_class r WHERE r.relkind IN ('r', 'p') AND EXISTS (SELECT FROM locked s"   \
    "  WHERE s.oid = 'pg_catalog.pg_namespace'::pg_catalog.regclass)"                              \
    " UNION " reached ")"                                                                          \
    " SELECT tree.oid, tree.ddl, NULL, " MARKED                                                    \
    " FROM tree LEFT JOIN pg_catalog.pg_class c ON c.oid = tree.oid"                               \
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                               \
    " WHERE c.oid IS NULL OR (c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"                 \
    " AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema'))"

static const char locks_sql[] = LOCKS(LAST_WORD,
                                      "SELECT i.inhparent, tree.ddl FROM pg_catalog.pg_inherits i"
                                      "  JOIN tree ON i.inhrelid = tree.oid");
/* What a row of another server takes with it is locked there, and not here: all that its table's
 * keys lead to. And a coordinator writes inside of COMMIT itself. */
static const char spread_locks_sql[] = LOCKS(
    "", "SELECT r.oid, tree.ddl AND r.ddl FROM tree CROSS JOIN LATERAL ("
        "SELECT i.inhparent AS oid, true AS ddl FROM pg_catalog.pg_inherits i"
        "  WHERE i.inhrelid = tree.oid"
        " UNION ALL SELECT k.conrelid, false FROM pg_catalog.pg_constraint k"
        "  WHERE k.confrelid = tree.oid AND k.contype = 'f' AND (k.confdeltype IN ('c', 'n', 'd')"
        "  OR k.confupdtype IN ('c', 'n', 'd')) AND EXISTS (SELECT"
        "  FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = k.confrelid)) r");

static const char immediate_sql[] = "SET CONSTRAINTS ALL IMMEDIATE";

void stores__commit_add_past(const stores_engine *engine, struct stores__pg_conn *conn,
                             struct stores__pg_req *req) {
    if (engine->cache != NULL && engine->pool.pooler) stores__past_question(conn, req);
}

void stores__commit_take_past(struct stores__commit *commit, const struct pg_result *result) {
    struct stores__cache *cache = commit->engine->cache;
    if (cache != NULL && stores__past_differs(cache, result)) stores__commit_reaches(commit);
}

/* What waits for COMMIT happens now. A trigger may defer what it causes, once more, and so on: what
 * still waits after the second time is kept from writing (LAST_WORD). A cursor WITH HOLD runs to
 * its end inside of COMMIT, whoever opened it, and nobody could read it after it. */
int stores__commit_add_question(const stores_engine *engine, struct stores__pg_conn *conn,
                                struct stores__pg_req *req) {
    stores__pg_add(conn, req, immediate_sql, 0, NULL, true);
    stores__pg_add(conn, req, immediate_sql, 0, NULL, true);
    stores__pg_add(conn, req, stores__commit_close_sql, 0, NULL, true);
    stores__commit_add_past(engine, conn, req);
    int asked = req->added;
    stores__pg_add(conn, req, conn->citus ? spread_locks_sql : locks_sql, 0, NULL, true);
    return asked;
}

void stores__commit_take_xid(struct stores__commit *commit, const struct pg_result *result) {
    size_t len = 0;
    const char *xid = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, &len) : NULL;
    if (xid != NULL && len < sizeof commit->xid) memcpy(commit->xid, xid, len + 1);
}

void stores__commit_reaches(struct stores__commit *commit) {
    if (commit->engine->cache != NULL) commit->reaches = true;
}

void stores__commit_add_last(struct stores__pg_conn *conn, struct stores__pg_req *req) {
    if (!conn->citus) stores__pg_add(conn, req, immediate_sql, 0, NULL, true);
}

void stores__commit_saves(struct stores__commit *commit) {
    commit->saves = true;
}

void stores__commit_closes(struct stores__commit *commit) {
    commit->closes = true;
}

bool stores__commit_is_reaching(const struct stores__commit *commit) {
    return commit->reaches;
}

/* NULL: no memory. */
static struct stores__epoch *add_turn(struct stores__commit *commit, uint32_t oid) {
    struct stores__epoch *epoch = stores__epoch_of(commit->engine, oid);
    for (size_t i = 0; epoch != NULL && i < commit->turn_count; i++) {
        if (commit->turns[i] == epoch) {
            stores__epoch_let_go(epoch);
            return epoch;
        }
    }
    if (epoch != NULL && commit->turn_count == commit->turn_room) {
        size_t room = commit->turn_room ? commit->turn_room * 2 : 4;
        struct stores__epoch **turns = realloc(commit->turns, room * sizeof(*turns));
        if (turns == NULL) {
            stores__epoch_let_go(epoch);
            epoch = NULL;
        } else {
            commit->turns = turns;
            commit->turn_room = room;
        }
    }
    if (epoch == NULL) {
        commit->no_memory = true;
        return NULL;
    }
    commit->turns[commit->turn_count++] = epoch;
    return epoch;
}

void stores__commit_named(struct stores__commit *commit) {
    commit->tell.by = STORES__TURN_NAMED;
}

void stores__commit_turn(struct stores__commit *commit, struct stores__table *table) {
    if (commit->engine->cache != NULL) add_turn(commit, table->oid);
}

void stores__commit_row(struct stores__commit *commit, struct stores__table *table, int64_t id,
                        const char *text, size_t len, struct stores__blob *blob, bool publish) {
    if (!stores__cache_covers(table)) return;
    if (!stores__settle_add(commit->rows, table, id, text, len, blob, publish)) {
        commit->no_memory = true;
    }
}

bool stores__commit_has_room(const struct stores__commit *commit, size_t count) {
    return stores__settle_count(commit->rows) + count <= STORES__NAMED_ROWS_MAX;
}

void stores__commit_large(struct stores__commit *commit, struct stores__table *table) {
    if (!stores__cache_covers(table)) return;
    commit->large = true;
    stores__commit_turn(commit, table);
}

void stores__commit_refuse(struct stores__commit *commit) {
    commit->no_memory = true;
}

bool stores__commit_is_refused(const struct stores__commit *commit) {
    return commit->no_memory;
}

struct stores__epoch **stores__commit_turns(struct stores__commit *commit, size_t *count) {
    struct stores__epoch **turns = commit->turns;
    *count = commit->turn_count;
    commit->turns = NULL;
    commit->turn_count = commit->turn_room = 0;
    return turns;
}

size_t stores__commit_mark(const struct stores__commit *commit) {
    return stores__settle_count(commit->rows);
}

void stores__commit_rolled_back(struct stores__commit *commit, size_t mark) {
    stores__settle_unpublish(commit->rows, mark);
}

/* DDL of our own: what this process knows of the table is asked anew, and what names mean. */
static void doubt(stores_engine *engine, uint32_t oid) {
    stores__table_forget_names(engine);
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (table->oid == oid) stores__facts_doubt(table);
    }
}

void stores__commit_take_lock(struct stores__commit *commit, const struct pg_result *result,
                              int row) {
    const char *text = stores__pg_value(result, row, 0, NULL);
    const char *ddl = stores__pg_value(result, row, 1, NULL);
    if (text == NULL) {
        commit->no_memory = true; /* no server says so; what it wrote cannot be told */
        return;
    }
    uint32_t oid = (uint32_t)strtoul(text, NULL, 10);
    const char *marked = stores__pg_value(result, row, 3, NULL);
    struct stores__epoch *epoch = add_turn(commit, oid);
    if (epoch != NULL && marked != NULL && marked[0] == '-') {
        commit->tell.first = epoch;
    } else if (epoch != NULL) {
        stores__epoch_mark(epoch, marked);
    }
    if (ddl == NULL || ddl[0] != 't') return;
    doubt(commit->engine, oid);
    commit->renames = true;
}

void stores__commit_take_locks(struct stores__commit *commit, const struct pg_result *result) {
    commit->locks_known = true;
    if (commit->engine->cache == NULL) return;
    for (int row = 0; row < stores__pg_rows(result); row++) {
        stores__commit_take_lock(commit, result, row);
    }
}

bool stores__commit_may_write(const struct stores__table *table, stores_error *error) {
    const stores_engine *engine = table->engine;
    if (engine->cache == NULL || !table->cacheable) return true;
    if (engine->config.on_cache_failure != STORES_CACHE_FAILURE_ERROR) return true;
    if (engine->cache->nameless) {
        stores__error_set(error, STORES_CACHE_FAILURE,
                          "%s, so that the cache cannot be told, and on_cache_failure is 'error'",
                          engine->cache->nameless_why);
        return false;
    }
    if (!engine->cache->closed && stores__node_up(stores__epoch_node(table->epoch))) return true;
    stores__error_set(error, STORES_CACHE_FAILURE,
                      "Redis is not reachable, and on_cache_failure is 'error': %s",
                      stores__trouble_why(engine->cache));
    return false;
}
