/* INSERTs of a segment that gave no row: whether their id is taken is asked before COMMIT. */
#include "write/writes_internal.h"

/* What triggers did before a row was found to be there stays, unless all is undone: each write runs
 * again by itself then, in the form whose failure undoes it. Without such triggers nothing was done. */
static void decide_unsure(struct stores__segment *segment) {
    stores_error error;
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__write *write = segment->order[i];
        if (!write->unsure) continue;
        write->unsure = false;
        if (write->statement->table->may_take_rows) {
            stores__error_set(&error, STORES_SERIALIZATION,
                              "a trigger of the table was met for the first time");
            stores__segment_fail(segment, &error);
        } else {
            stores__statement_duplicate(write->statement, &error);
            write->error = stores__error_dup(&error);
        }
    }
}

static void took_facts(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    stores_error error;
    if (!stores__pg_result_ok(result, &error)) {
        stores__segment_fail(segment, &error);
    } else if (stores__pg_rows(result) == 1) {
        stores__facts_learn(segment->checked[index], result, 0, &segment->asked[index]);
    }
    stores__pg_result_free(result);
}

static void facts_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__segment *segment = STORES__CONTAINER(req, struct stores__segment, req);
    if (end == STORES__PG_LOST) {
        stores__segment_sent(req, end);
        return;
    }
    if (!segment->failed) decide_unsure(segment);
    stores__segment_go_on(segment);
}

/* The tables of the INSERTs are locked: no trigger comes or goes any more. */
void stores__segment_ask_unsure(struct stores__segment *segment) {
    segment->unsure = false;
    segment->checks = 0;
    segment->req.result = took_facts;
    segment->req.done = facts_over;
    stores__pg_begin(segment->conn, &segment->req);
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__table *table = segment->order[i]->statement->table;
        if (!segment->order[i]->unsure) continue;
        if (segment->checks > 0 && segment->checked[segment->checks - 1] == table) continue;
        const char *values[] = {table->name};
        segment->asked[segment->checks] = stores__facts_ask(segment->engine, false);
        stores__pg_add(segment->conn, &segment->req, stores__facts_sql, 1, values, true);
        segment->checked[segment->checks++] = table;
    }
    stores__pg_sync(segment->conn, &segment->req);
}
