#include "write/settle.h"

#include "cache/held.h"
#include "cache/life.h"
#include "cache/scripts.h"

struct settle_row {
    struct stores__table *table; /* held */
    struct stores__doc doc; /* text NULL: the row is gone */
    size_t order; /* of the writes of the transaction */
    bool publish;
};

struct stores__settle {
    stores_engine *engine;
    struct settle_row *rows;
    size_t count, room;
    bool sorted;
    char (*epochs)[STORES__EPOCH_TEXT]; /* one for each row, where it was placed */
};

struct settle_req {
    struct stores__redis_req req;
    stores_engine *engine;
};

static struct stores__redis_script script_settle = {.source = STORES__SCRIPT_SETTLE,
                                                    .follows = true};

struct stores__settle *stores__settle_new(stores_engine *engine) {
    struct stores__settle *settle = stores__zeroed(sizeof *settle);
    if (settle != NULL) settle->engine = engine;
    return settle;
}

static void drop_row(struct settle_row *row) {
    stores__blob_drop(row->doc.blob);
    stores__table_let_go(row->table);
}

void stores__settle_free(struct stores__settle *settle) {
    if (settle == NULL) return;
    for (size_t i = 0; i < settle->count; i++) drop_row(&settle->rows[i]);
    free(settle->rows);
    free(settle->epochs);
    free(settle);
}

bool stores__settle_add(struct stores__settle *settle, struct stores__table *table, int64_t id,
                        const char *text, size_t len, struct stores__blob *blob, bool publish) {
    if (settle->count == settle->room) {
        size_t room = settle->room ? settle->room * 2 : 4;
        struct settle_row *rows = realloc(settle->rows, room * sizeof *rows);
        if (rows == NULL) return false;
        settle->rows = rows;
        settle->room = room;
    }
    struct settle_row *row = &settle->rows[settle->count];
    row->table = stores__table_hold(table);
    row->doc.id = id;
    row->doc.text = text;
    row->doc.len = len;
    row->doc.blob = blob ? stores__blob_ref(blob) : NULL;
    row->order = settle->count++;
    row->publish = publish;
    settle->sorted = false;
    return true;
}

size_t stores__settle_count(const struct stores__settle *settle) {
    return settle->count;
}

void stores__settle_unpublish(struct stores__settle *settle, size_t mark) {
    for (size_t i = 0; i < settle->count; i++) {
        if (settle->rows[i].order >= mark) settle->rows[i].publish = false;
    }
}

static int by_row(const void *a, const void *b) {
    const struct settle_row *x = a, *y = b;
    if (x->table != y->table) return strcmp(x->table->name, y->table->name);
    if (x->doc.id != y->doc.id) return x->doc.id < y->doc.id ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* A row that was written several times is one row, with its last value; where one of those writes
 * was rolled back to a savepoint nobody knows which value stands. */
static void merge(struct stores__settle *settle) {
    if (settle->sorted || settle->count == 0) return;
    qsort(settle->rows, settle->count, sizeof *settle->rows, by_row);
    size_t last = 0;
    for (size_t i = 1; i < settle->count; i++) {
        struct settle_row *kept = &settle->rows[last], *row = &settle->rows[i];
        if (kept->table == row->table && kept->doc.id == row->doc.id) {
            bool publish = kept->publish && row->publish;
            drop_row(kept);
            *kept = *row;
            kept->publish = publish;
        } else {
            settle->rows[++last] = *row;
        }
    }
    settle->count = last + 1;
    settle->sorted = true;
}

static size_t table_end(const struct stores__settle *settle, size_t start) {
    size_t end = start + 1;
    while (end < settle->count && settle->rows[end].table == settle->rows[start].table) end++;
    return end;
}

void stores__settle_turn_large(struct stores__settle *settle, size_t max,
                               struct stores__commit *commit,
                               void (*turn)(struct stores__commit *, struct stores__table *)) {
    merge(settle);
    size_t kept = 0;
    for (size_t at = 0, end; at < settle->count; at = end) {
        end = table_end(settle, at);
        bool large = end - at > max;
        if (large) turn(commit, settle->rows[at].table);
        for (size_t i = at; i < end; i++) {
            if (large) {
                drop_row(&settle->rows[i]);
            } else {
                settle->rows[kept++] = settle->rows[i];
            }
        }
    }
    settle->count = kept;
}

/* The end of the chunk that starts there: one table, one epoch, not too many rows. */
static size_t chunk_end(const struct stores__settle *settle, size_t start) {
    size_t end = table_end(settle, start);
    return end - start > STORES__SCRIPT_ROWS ? start + STORES__SCRIPT_ROWS : end;
}

bool stores__settle_place(struct stores__settle *settle,
                          bool (*place)(void *arg, struct stores__table *table, const char *epoch,
                                        struct stores__args *keys, int count),
                          void *arg) {
    if (settle->epochs == NULL) {
        settle->epochs = calloc(settle->count, sizeof *settle->epochs);
        if (settle->epochs == NULL) return false;
    }
    for (size_t at = 0, end; at < settle->count; at = end) {
        struct stores__table *table = settle->rows[at].table;
        const char *epoch = stores__epoch_text(table);
        struct stores__args args = {0};
        end = chunk_end(settle, at);
        stores__args_epoch_key(&args, table->epoch);
        /* under B a statement outside of transactions may be about to change what is published */
        bool valid = stores__epoch_state(table) == STORES__EPOCH_VALID;
        for (size_t i = at; i < end; i++) {
            if (!valid) settle->rows[i].publish = false;
            strcpy(settle->epochs[i], epoch);
            stores__args_row_key(&args, table, epoch, settle->rows[i].doc.id);
        }
        if (!place(arg, table, epoch, &args, (int)(end - at))) return false;
    }
    return true;
}

bool stores__settle_epochs_known(const struct stores__settle *settle) {
    for (size_t at = 0; at < settle->count; at = table_end(settle, at)) {
        if (stores__epoch_state(settle->rows[at].table) == STORES__EPOCH_UNKNOWN) return false;
    }
    return true;
}

uint64_t stores__settle_absence(const struct stores__settle *settle) {
    uint64_t most = 0;
    for (size_t at = 0; at < settle->count; at = table_end(settle, at)) {
        uint64_t ms = stores__held_absence(settle->rows[at].table->epoch);
        if (ms > most) most = ms;
    }
    return most;
}

bool stores__settle_nodes_up(const struct stores__settle *settle) {
    for (size_t at = 0; at < settle->count; at = table_end(settle, at)) {
        if (!stores__node_up(stores__epoch_node(settle->rows[at].table->epoch))) return false;
    }
    return true;
}

void stores__settle_bypass(struct stores__settle *settle) {
    stores__settle_unpublish(settle, 0);
    for (size_t at = 0; at < settle->count; at = table_end(settle, at)) {
        stores__epoch_bypassed(settle->rows[at].table->epoch);
    }
}

static void settled(struct stores__redis_req *req, struct redisReply **reply) {
    struct settle_req *settle = STORES__CONTAINER(req, struct settle_req, req);
    struct stores__counters *counters = &settle->engine->counters;
    for (size_t i = 0; i < stores__redis_count(*reply); i++) {
        int64_t what = stores__redis_integer(stores__redis_at(*reply, i), 0);
        if (what == 2) counters->settles_published++;
        if (what == 3 || what == 4) counters->settles_deleted++;
    }
    free(settle);
}

static void add_value(struct stores__args *args, const struct settle_row *row, bool committed) {
    char life[24];
    bool gone = row->doc.text == NULL;
    if (!committed || !row->publish || row->doc.len > STORES__VALUE_MAX) {
        stores__args_add(args, "", 0);
    } else if (gone) {
        stores__args_add(args, "N", 1);
    } else {
        stores__args_add(args, "V", 1);
        stores__buf_add(&args->buf, row->doc.text, row->doc.len);
    }
    stores__cache_life(row->table, row->doc.text, row->doc.len, life);
    stores__args_str(args, life);
}

static void send_chunk(struct stores__settle *settle, size_t at, size_t end, const char *entry,
                       bool committed) {
    stores_engine *engine = settle->engine;
    struct settle_req *req = stores__zeroed(sizeof *req);
    struct stores__args args = {0};
    if (req == NULL) return; /* the intents stay, and readers resolve them */
    req->engine = engine;
    req->req.done = settled;
    for (size_t i = at; i < end; i++) {
        stores__args_row_key(&args, settle->rows[i].table, settle->epochs[i],
                             settle->rows[i].doc.id);
    }
    stores__args_str(&args, entry);
    stores__args_str(&args, committed ? "W" : "R");
    for (size_t i = at; i < end; i++) {
        add_value(&args, &settle->rows[i], committed);
    }
    if (!stores__args_send(&args, engine->cache, &req->req, &script_settle, (int)(end - at))) {
        free(req);
    }
}

void stores__settle_send(struct stores__settle *settle, const char *entry, bool committed) {
    struct stores__cache *cache = settle->engine->cache;
    if (cache != NULL && !cache->closed && entry[0] != '\0' && settle->epochs != NULL) {
        for (size_t at = 0, end; at < settle->count; at = end) {
            end = chunk_end(settle, at);
            if (settle->epochs[at][0] != '\0') send_chunk(settle, at, end, entry, committed);
        }
    }
    stores__settle_free(settle);
}
