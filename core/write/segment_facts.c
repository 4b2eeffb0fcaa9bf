/*
 * What a segment asks of the catalog. In front of its statements: facts that are in doubt. Behind
 * them, when their locks keep DDL away: whether the facts were right, which tells how far the
 * statements reach. Before COMMIT: whether the ids of INSERTs that gave no row are taken.
 */
#include "write/writes_internal.h"

/* Once a table: the writes are ordered by their tables. By a depth of before there may be no
 * answer, which is enough in front of a write: its locks tell the rest. */
static void add_check(struct stores__segment *segment, struct stores__table *table,
                      enum stores__facts_depth depth, bool committed) {
    const char *values[] = {table->name};
    if (segment->checks > 0 && segment->checked[segment->checks - 1].table == table) return;
    struct stores__segment_check *check = &segment->checked[segment->checks++];
    check->table = table;
    check->asked = stores__facts_ask_to_write(table, depth, committed);
    stores__pg_add(segment->conn, &segment->req, stores__facts_sql(segment->engine, depth), 1,
                   values, true);
}

void stores__segment_add_checks(struct stores__segment *segment) {
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__table *table = segment->order[i]->statement->table;
        if (stores__facts_must_ask(table))
            add_check(segment, table, stores__facts_depth(table), true);
    }
}

bool stores__segment_take_check(struct stores__segment *segment, size_t at,
                                const struct pg_result *result) {
    struct stores__segment_check *check = &segment->checked[at];
    return stores__facts_take(check->table, result, &check->asked);
}

/* What is cached is to be told of the tables that were written; what shares a statement may do so
 * only where its table is what it was. */
void stores__segment_add_prints(struct stores__segment *segment) {
    for (size_t i = 0; i < segment->group_count; i++) {
        const struct stores__group *group = &segment->groups[i];
        struct stores__table *table = segment->order[group->first]->statement->table;
        if (segment->engine->cache == NULL && group->count == 1) continue;
        if (segment->prints > 0 && segment->printed[segment->prints - 1] == table) continue;
        const char *values[] = {table->name};
        stores__pg_add(segment->conn, &segment->req, stores__facts_print_sql(table), 1, values,
                       true);
        segment->printed[segment->prints++] = table;
    }
    if (segment->prints == 0) {
        stores__pg_add(segment->conn, &segment->req, stores__commit_xid_sql, 0, NULL, true);
    }
    stores__commit_add_past(segment->engine, segment->conn, &segment->req);
}

bool stores__segment_take_print(struct stores__segment *segment, size_t at,
                                const struct pg_result *result) {
    if (at > 0 && at >= segment->prints) {
        stores__commit_take_past(segment->commit, result);
        return true;
    }
    stores__commit_take_xid(segment->commit, result);
    if (at >= segment->prints) return true;
    struct stores__table *table = segment->printed[at];
    bool reaches = !stores__facts_confirm(table, result);
    if (reaches) {
        stores__pg_foreign(segment->conn, NULL); /* perhaps a trigger that came meanwhile */
    }
    bool changed = reaches, shared = false;
    for (size_t i = 0; i < segment->group_count; i++) {
        const struct stores__group *group = &segment->groups[i];
        const struct stores__statement *statement = segment->order[group->first]->statement;
        if (statement->table != table) continue;
        shared = shared || group->count > 1;
        reaches = reaches || stores__statement_reaches(statement);
    }
    if (reaches) stores__commit_reaches(segment->commit);
    return !(changed && shared);
}

void stores__segment_add_unsure(struct stores__segment *segment) {
    segment->checks = 0;
    for (size_t i = 0; i < segment->count; i++) {
        const struct stores__write *write = segment->order[i];
        struct stores__table *table = write->statement->table;
        if (write->unsure) add_check(segment, table, STORES__FACTS_ALL, false);
    }
}

bool stores__segment_decide_unsure(struct stores__segment *segment, stores_error *error) {
    bool undone = false;
    for (size_t i = 0; i < segment->count; i++) {
        struct stores__write *write = segment->order[i];
        stores_error why;
        if (!write->unsure) continue;
        write->unsure = false;
        if (stores__statement_is_taken(write->statement, &why)) {
            stores__shared_taken(write->statement->table);
            write->error = stores__error_dup(&why);
        } else {
            *error = why;
            undone = true;
        }
    }
    return !undone;
}
