/* shared.c - a statement over arrays for many writes of one form: which of them may be a part of
 * one, and its parameters. */
#include "base/json_one.h"
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

/* The values of a statement behind its id. False: the document would be more than one among
 * others. */
static bool add_values(struct stores__buf *arrays, const struct stores__statement *statement,
                       bool has_json) {
    for (int k = 1; k < statement->count; k++) {
        const char *text = statement->values[k];
        size_t len;
        if (k > 1 || !has_json) {
            stores__pg_array_text(&arrays[k], text, strlen(text));
        } else if (stores__json_is_one(text, &len)) {
            stores__pg_documents_add(&arrays[k], text, len);
        } else {
            return false;
        }
    }
    return true;
}

static void begin(struct stores__buf *arrays, int count, bool has_json, size_t rows) {
    stores__pg_array_begin(&arrays[0], STORES__PG_INT8, rows);
    for (int k = 1; k < count; k++) {
        if (k == 1 && has_json) {
            stores__pg_documents_begin(&arrays[k]);
        } else {
            stores__pg_array_begin(&arrays[k], STORES__PG_TEXT, rows);
        }
    }
}

/* Fills count arrays, and says whether somebody is to hear of more than ids. False: there is no
 * memory, or a document is none. */
static bool fill(struct stores__segment *segment, const struct stores__group *group, int count,
                 bool *quiet) {
    struct stores__buf *arrays = segment->engine->writes->arrays;
    bool has_json = segment->order[group->first]->statement->kind != STORES_DELETE;
    bool failed = false;
    *quiet = has_json && segment->engine->cache == NULL;
    begin(arrays, count, has_json, group->count);
    for (size_t i = 0; i < group->count; i++) {
        struct stores__statement *statement = segment->order[group->first + i]->statement;
        stores__statement_choose(statement, false);
        assert(i == 0 || segment->order[group->first + i - 1]->statement->id < statement->id);
        stores__pg_array_int8(&arrays[0], statement->id);
        if (!add_values(arrays, statement, has_json)) return false;
        if (statement->want_document) *quiet = false;
    }
    if (has_json) stores__pg_documents_end(&arrays[1]);
    for (int k = 0; k < count; k++) failed = failed || arrays[k].failed;
    return !failed;
}

bool stores__shared_add(struct stores__segment *segment, struct stores__group *group) {
    struct stores__buf *arrays = segment->engine->writes->arrays;
    const struct stores__statement *first = segment->order[group->first]->statement;
    bool quiet, filled = fill(segment, group, first->count, &quiet);
    group->sql = filled ? stores__table_sql(first->table, group->text + (quiet ? 1 : 0)) : NULL;
    bool ok = group->sql != NULL;
    if (ok) {
        stores__pg_add_arrays(segment->conn, &segment->req, group->sql, first->count, arrays);
    }
    for (int k = 0; k < first->count; k++) {
        if (!ok || arrays[k].cap > STORES__SHARED_BYTES) stores__buf_free(&arrays[k]);
    }
    return ok;
}
