/* shared.c - a statement over arrays for many writes of one form: which of them may be a part of
 * one, and its parameters. */
#include "write/writes_internal.h"

enum { TAKEN_MS = 10 * 1000 };

/* Where nothing can tell one statement from several: nothing of somebody runs for a row or for a
 * statement, rows are where the table is, and each has its id by an index of its own. */
static bool may_share(const struct stores__table *table) {
    bool plain = table->known && table->cacheable && table->upsert == STORES__UPSERT_XMAX &&
                 table->spread == STORES__SPREAD_NONE && !table->unkeyed && table->lacks == NULL;
    return plain && !table->wide && !table->loose && !table->reaches && !table->cascades &&
           !table->may_take_rows;
}

bool stores__shared_fits(const struct stores__statement *statement) {
    return !statement->foreign && may_share(statement->table) &&
           !stores__facts_must_ask(statement->table);
}

/* Where an id was taken a moment ago there may be more. */
static bool expects_taken(const struct stores__table *table) {
    return table->taken_at > 0 && stores__now(table->engine) - table->taken_at < TAKEN_MS;
}

void stores__shared_taken(struct stores__table *table) {
    table->taken_at = stores__now(table->engine);
}

enum stores__table_text stores__shared_text(const struct stores__statement *statement) {
    static const enum stores__table_text updates[] = {
        [STORES__ANY] = STORES__SHARED_UPDATE_SQL,
        [STORES__THAT_TEXT] = STORES__SHARED_REPLACE_SQL,
        [STORES__THAT_ETAG] = STORES__SHARED_UPDATE_ETAG_SQL};
    if (statement->condition != NULL || !may_share(statement->table)) return STORES__TABLE_TEXTS;
    switch (statement->kind) {
    case STORES_INSERT:
        return expects_taken(statement->table) ? STORES__SHARED_INSERT_SQL
                                               : STORES__SHARED_INSERT_BLIND_SQL;
    case STORES_UPDATE: return updates[statement->guard];
    case STORES_UPSERT: return STORES__SHARED_UPSERT_SQL;
    case STORES_DELETE:
        return statement->guard ? STORES__SHARED_DELETE_ETAG_SQL : STORES__SHARED_DELETE_SQL;
    default: return STORES__TABLE_TEXTS;
    }
}

static void add_text(struct stores__buf *array, const char *text, bool json) {
    size_t len = strlen(text);
    if (json) {
        stores__pg_array_jsonb(array, text, len);
    } else {
        stores__pg_array_text(array, text, len);
    }
}

/* Fills the arrays; gives how many there are, and whether somebody is to hear of more than ids. */
static int fill(struct stores__segment *segment, const struct stores__group *group, bool *quiet) {
    struct stores__buf *arrays = segment->engine->writes->arrays;
    const struct stores__statement *first = segment->order[group->first]->statement;
    bool has_json = first->kind != STORES_DELETE;
    *quiet = has_json && segment->engine->cache == NULL;
    stores__pg_array_begin(&arrays[0], STORES__PG_INT8, group->count);
    for (int k = 1; k < first->count; k++) {
        stores__pg_array_begin(&arrays[k], k == 1 && has_json ? STORES__PG_JSONB : STORES__PG_TEXT,
                               group->count);
    }
    for (size_t i = 0; i < group->count; i++) {
        struct stores__statement *statement = segment->order[group->first + i]->statement;
        stores__statement_choose(statement, false);
        assert(i == 0 || segment->order[group->first + i - 1]->statement->id < statement->id);
        stores__pg_array_int8(&arrays[0], statement->id);
        for (int k = 1; k < statement->count; k++) {
            add_text(&arrays[k], statement->values[k], k == 1 && has_json);
        }
        if (statement->want_document) *quiet = false;
    }
    return first->count;
}

bool stores__shared_add(struct stores__segment *segment, struct stores__group *group) {
    struct stores__buf *arrays = segment->engine->writes->arrays;
    struct stores__table *table = segment->order[group->first]->statement->table;
    bool quiet;
    int count = fill(segment, group, &quiet);
    group->sql = stores__table_sql(table, group->text + (quiet ? 1 : 0));
    bool failed = group->sql == NULL;
    for (int k = 0; k < count; k++) failed = failed || arrays[k].failed;
    if (!failed) stores__pg_add_arrays(segment->conn, &segment->req, group->sql, count, arrays);
    for (int k = 0; k < count; k++) {
        if (failed || arrays[k].cap > STORES__SHARED_BYTES) stores__buf_free(&arrays[k]);
    }
    return !failed;
}
