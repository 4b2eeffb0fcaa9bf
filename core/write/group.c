/*
 * group.c - which writes of a segment are sent as one statement, and whose rows that gives. A group
 * ends where the form of the next write is another one, or its id the same: so rows are locked in
 * the order of the segment, whatever shares a statement, and two segments do not wait for each
 * other in a circle.
 */
#include "write/writes_internal.h"

enum {
    LEAST = 4, /* fewer are as dear as statements of their own */
    WRITE_BYTES = 32 * 1024 /* a larger one is better copied once than gathered */
};

/* ---- Which go together ----------------------------------------------------------------------- */

static size_t bytes_of(const struct stores__statement *statement) {
    size_t bytes = 0;
    for (int i = 1; i < statement->count; i++) bytes += strlen(statement->values[i]);
    return bytes;
}

/* How many writes from one on share a statement. */
static size_t extent(const struct stores__segment *segment, size_t first,
                     enum stores__table_text text) {
    size_t bytes = 0, end = first;
    const struct stores__statement *last = NULL;
    if (text == STORES__TABLE_TEXTS) return 1;
    for (; end < segment->count; end++) {
        const struct stores__statement *next = segment->order[end]->statement;
        if (last != NULL && (next->table != last->table || next->id == last->id)) break;
        if (last != NULL && stores__shared_text(next) != text) break;
        size_t more = bytes_of(next);
        if (more > WRITE_BYTES || bytes + more > STORES__SHARED_BYTES) break;
        bytes += more;
        last = next;
    }
    return end - first;
}

static void add_group(struct stores__segment *segment, size_t first, size_t count,
                      enum stores__table_text text) {
    segment->groups[segment->group_count++] = (struct stores__group){
        .first = first, .count = count, .text = text};
    if (count > 1) segment->shares = true;
}

static bool all_fit(const struct stores__segment *segment) {
    for (size_t i = 0; i < segment->count; i++) {
        if (!stores__shared_fits(segment->order[i]->statement)) return false;
    }
    return true;
}

void stores__segment_group(struct stores__segment *segment) {
    /* a coordinator sends its workers the limits of SET, and not those of a function */
    bool may_share = segment->count >= LEAST && !segment->conn->citus && all_fit(segment);
    segment->group_count = 0;
    for (size_t first = 0; first < segment->count;) {
        enum stores__table_text text = STORES__TABLE_TEXTS;
        size_t count = 1;
        if (may_share) {
            text = stores__shared_text(segment->order[first]->statement);
            count = extent(segment, first, text);
        }
        if (count >= LEAST) {
            add_group(segment, first, count, text);
            first += count;
        } else {
            add_group(segment, first++, 1, text);
        }
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void add_single(struct stores__segment *segment, struct stores__statement *statement) {
    stores__statement_choose(statement, segment->count == 1);
    if (statement->foreign) stores__pg_foreign(segment->conn, statement->sql);
    stores__pg_add(segment->conn, &segment->req, statement->sql, statement->count,
                   statement->values, true);
}

/* Where there is no memory for the arrays, or a document is none, each is sent by itself. */
static void split(struct stores__segment *segment, size_t at) {
    struct stores__group *groups = segment->groups, whole = groups[at];
    size_t behind = segment->group_count - at - 1;
    memmove(&groups[at + whole.count], &groups[at + 1], behind * sizeof *groups);
    for (size_t i = 0; i < whole.count; i++) {
        groups[at + i] = (struct stores__group){.first = whole.first + i, .count = 1};
    }
    segment->group_count += whole.count - 1;
}

void stores__groups_add(struct stores__segment *segment) {
    for (size_t i = 0; i < segment->group_count; i++) {
        struct stores__group *group = &segment->groups[i];
        if (group->count > 1 && !stores__shared_add(segment, group)) split(segment, i);
        if (group->count == 1) add_single(segment, segment->order[group->first]->statement);
    }
}

/* ---- Results --------------------------------------------------------------------------------- */

void stores__group_explain(const struct stores__segment *segment, const struct stores__group *group,
                           stores_error *error) {
    const struct stores__statement *first = segment->order[group->first]->statement;
    if (group->count > 1) {
        stores__table_explain(first->table, group->sql, error);
    } else {
        stores__statement_explain(first, error);
    }
}

bool stores__group_was_blind(const struct stores__group *group, const stores_error *error) {
    bool blind = group->count > 1 && group->text == STORES__SHARED_INSERT_BLIND_SQL;
    return blind && stores__error_is_of_id(error);
}

static void unsure(struct stores__segment *segment, struct stores__write *write) {
    write->unsure = true;
    segment->unsure = true;
}

static void take_single(struct stores__segment *segment, struct stores__write *write,
                        struct pg_result *result) {
    stores_error error;
    switch (stores__statement_take(write->statement, write->op, result, segment->commit, &error)) {
    case STORES__TAKE_FAILED: write->error = stores__error_dup(&error); break;
    case STORES__TAKE_UNSURE: unsure(segment, write); break;
    default: break;
    }
    if (stores__statement_fires(write->statement)) stores__pg_foreign(segment->conn, NULL);
}

/* Its writes are ordered by their ids, each of which is there once. NULL: none of them is of this
 * id. */
static struct stores__write *write_of(const struct stores__segment *segment,
                                      const struct stores__group *group, int64_t id) {
    size_t low = group->first, high = group->first + group->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct stores__write *write = segment->order[middle];
        if (write->statement->id == id) return write;
        if (write->statement->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static bool take_rows(struct stores__segment *segment, const struct stores__group *group,
                      const struct pg_result *result, struct stores__blob *blob) {
    for (int row = 0; row < stores__pg_rows(result); row++) {
        const char *id = stores__pg_value(result, row, 0, NULL);
        struct stores__write *write = id ? write_of(segment, group, strtoll(id, NULL, 10)) : NULL;
        if (write == NULL || write->has_row) return false;
        write->has_row = true;
        stores__statement_take_row(write->statement, write->op, result, row, blob, segment->commit);
    }
    return true;
}

static bool take_shared(struct stores__segment *segment, const struct stores__group *group,
                        struct pg_result *result, stores_error *error) {
    struct stores__blob *blob = stores__blob_new(result, stores__pg_result_free);
    if (blob == NULL) {
        stores__pg_result_free(result);
        stores__error_set(error, STORES_NO_MEMORY, "no memory for documents");
        return false;
    }
    for (size_t i = 0; i < group->count; i++) segment->order[group->first + i]->has_row = false;
    bool fits = take_rows(segment, group, result, blob);
    stores__blob_drop(blob);
    for (size_t i = 0; i < group->count && fits; i++) {
        struct stores__write *write = segment->order[group->first + i];
        if (write->has_row) continue;
        if (stores__statement_take_none(write->statement, write->op) == STORES__TAKE_UNSURE) {
            unsure(segment, write);
        }
    }
    if (!fits) {
        stores__error_set(error, STORES_SERIALIZATION,
                          "a trigger of the table was met for the first time");
    }
    return fits;
}

bool stores__group_take(struct stores__segment *segment, const struct stores__group *group,
                        struct pg_result *result, stores_error *error) {
    if (group->count > 1) return take_shared(segment, group, result, error);
    take_single(segment, segment->order[group->first], result);
    return true;
}
