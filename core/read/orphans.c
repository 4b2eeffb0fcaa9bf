/*
 * Intents whose writer may be dead. A reader that sees one remembers it; seen again 100 ms later,
 * PostgreSQL is asked whether its transaction is over. Not a clock but the server says so: a live
 * transaction keeps its intent, and one that nobody knows any more (a crash reuses its number) is
 * over as well. Of a row of another server its lock is asked, and not the coordinator (probe.h).
 */
#include <stdio.h>

#include "cache/cache.h"
#include "cache/scripts.h"
#include "read/probe.h"
#include "read/reads.h"

enum {
    BUCKETS = 64,
    REMEMBERED_MAX = 1024,
    SETTLE_AFTER_MS = 100,
    PROBES_MAX = 2 /* of a table: each has a connection for itself */
};

struct orphan {
    struct orphan *chain;
    struct stores__list age; /* the longest remembered first */
    struct stores__table *table; /* held while it is asked about */
    int64_t id;
    uint64_t seen_at; /* since when it has been looked at */
    bool asking;
    bool over; /* the transaction */
    char entry[STORES__ENTRY_TEXT + 1];
    char epoch[STORES__EPOCH_TEXT];
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__redis_req redis_req;
    struct stores__probe probe;
};

struct stores__orphans {
    struct orphan *buckets[BUCKETS];
    struct stores__list ages;
    int count;
    int probes; /* that are under way */
};

static struct stores__redis_script script_settle = {.source = STORES__SCRIPT_SETTLE,
                                                    .follows = true};

static void set_asking(struct orphan *orphan, bool asking) {
    if (orphan->asking == asking) return;
    orphan->asking = asking;
    if (asking) {
        stores__table_hold(orphan->table);
    } else {
        stores__table_let_go(orphan->table);
    }
}

static void forget(struct orphan *orphan) {
    struct stores__orphans *orphans = orphan->table->orphans;
    struct orphan **at = &orphans->buckets[stores__hash(orphan->entry, 16) % BUCKETS];
    while (*at != orphan) at = &(*at)->chain;
    *at = orphan->chain;
    stores__list_remove(&orphan->age);
    orphans->count--;
    set_asking(orphan, false);
    free(orphan);
}

static void settled(struct stores__redis_req *req, struct redisReply **reply) {
    struct orphan *orphan = STORES__CONTAINER(req, struct orphan, redis_req);
    int64_t what = stores__redis_integer(stores__redis_at(*reply, 0), 0);
    if (what == 1 || what == 3) orphan->table->engine->counters.settles_resolved++;
    forget(orphan);
}

static void settle(struct orphan *orphan) {
    struct stores__cache *cache = orphan->table->engine->cache;
    struct stores__args args = {0};
    if (cache->closed) {
        forget(orphan);
        return;
    }
    stores__args_row_key(&args, orphan->table, orphan->epoch, orphan->id);
    stores__args_str(&args, orphan->entry);
    stores__args_str(&args, "R");
    stores__args_str(&args, "");
    stores__args_str(&args, "0");
    orphan->redis_req.done = settled;
    if (!stores__args_send(&args, cache, &orphan->redis_req, &script_settle, 1)) forget(orphan);
    stores__nodes_flush(cache);
}

static void took_status(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct orphan *orphan = STORES__CONTAINER(req, struct orphan, req);
    stores_error error;
    (void)index;
    if (stores__pg_result_ok(result, &error)) {
        const char *status = stores__pg_value(result, 0, 0, NULL);
        orphan->over = status == NULL || strcmp(status, "in progress") != 0;
    } else {
        /* "transaction ID is in the future": of a server before its crash */
        orphan->over = strcmp(error.sqlstate, "22023") == 0;
    }
    stores__pg_result_free(result);
}

static void heard(struct orphan *orphan, bool over) {
    if (over) {
        settle(orphan); /* until that is done nobody else asks */
        return;
    }
    orphan->seen_at = stores__now(orphan->table->engine); /* alive: asked again 100 ms from now */
    set_asking(orphan, false);
}

static void asked(struct stores__pg_req *req, enum stores__pg_end end) {
    struct orphan *orphan = STORES__CONTAINER(req, struct orphan, req);
    heard(orphan, end == STORES__PG_SYNCED && orphan->over);
}

/* A standby takes a transaction that it has not heard of yet for one that is over. */
static const char status_sql[] =
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'in progress'"
    " ELSE pg_catalog.pg_xact_status($1::text::xid8) END";

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct orphan *orphan = STORES__CONTAINER(wait, struct orphan, wait);
    char xid[24];
    snprintf(xid, sizeof xid, "%llu", strtoull(orphan->entry + 16, NULL, 16));
    const char *values[] = {xid};
    orphan->over = false;
    orphan->req.again = true;
    orphan->req.result = took_status;
    orphan->req.done = asked;
    stores__pg_begin(conn, &orphan->req);
    if (!conn->standby) {
        stores__pg_add(conn, &orphan->req, status_sql, 1, values, true);
    }
    stores__pg_sync(conn, &orphan->req);
}

static void refused(struct stores__pg_wait *wait, const stores_error *error) {
    struct orphan *orphan = STORES__CONTAINER(wait, struct orphan, wait);
    (void)error;
    set_asking(orphan, false);
}

static void probed(struct stores__probe *probe, bool over) {
    struct orphan *orphan = STORES__CONTAINER(probe, struct orphan, probe);
    orphan->table->orphans->probes--;
    heard(orphan, over);
}

/* One that is not probed now is seen again. */
static void probe(struct orphan *orphan) {
    if (orphan->table->orphans->probes == PROBES_MAX) return;
    orphan->table->orphans->probes++;
    set_asking(orphan, true);
    orphan->probe.table = orphan->table;
    orphan->probe.id = orphan->id;
    orphan->probe.done = probed;
    stores__probe_start(&orphan->probe);
}

static void ask(struct orphan *orphan) {
    if (orphan->table->spread != STORES__SPREAD_NONE) {
        probe(orphan);
        return;
    }
    set_asking(orphan, true);
    orphan->wait.granted = granted;
    orphan->wait.failed = refused;
    stores__pg_acquire(&orphan->table->engine->pool, &orphan->wait, STORES__PG_READING, "lookups");
}

static struct stores__orphans *orphans_of(struct stores__table *table) {
    if (table->orphans == NULL) {
        table->orphans = calloc(1, sizeof *table->orphans);
        if (table->orphans != NULL) stores__list_init(&table->orphans->ages);
    }
    return table->orphans;
}

static void make_room(struct stores__orphans *orphans) {
    struct stores__list *at = orphans->ages.next;
    while (orphans->count >= REMEMBERED_MAX && at != &orphans->ages) {
        struct orphan *orphan = STORES__CONTAINER(at, struct orphan, age);
        at = at->next;
        if (!orphan->asking) forget(orphan);
    }
}

static struct orphan *find(struct stores__table *table, int64_t id, const char *entry) {
    struct stores__orphans *orphans = orphans_of(table);
    if (orphans == NULL) return NULL;
    struct orphan **bucket = &orphans->buckets[stores__hash(entry, 16) % BUCKETS];
    for (struct orphan *orphan = *bucket; orphan != NULL; orphan = orphan->chain) {
        if (orphan->id == id && memcmp(orphan->entry, entry, STORES__ENTRY_TEXT) == 0)
            return orphan;
    }
    make_room(orphans);
    struct orphan *orphan = calloc(1, sizeof *orphan);
    if (orphan == NULL) return NULL;
    orphan->table = table;
    orphan->id = id;
    orphan->seen_at = stores__now(table->engine);
    memcpy(orphan->entry, entry, STORES__ENTRY_TEXT);
    stores__list_init(&orphan->wait.link);
    stores__list_init(&orphan->probe.wait.link);
    orphan->chain = *bucket;
    *bucket = orphan;
    stores__list_append(&orphans->ages, &orphan->age);
    orphans->count++;
    return orphan;
}

void stores__orphans_seen(struct stores__table *table, int64_t id, const char *text, size_t len) {
    uint64_t now = stores__now(table->engine);
    for (size_t at = 2; at + STORES__ENTRY_TEXT <= len; at += STORES__ENTRY_TEXT) {
        struct orphan *orphan = find(table, id, text + at);
        if (orphan == NULL || orphan->asking) continue;
        snprintf(orphan->epoch, sizeof orphan->epoch, "%s", stores__epoch_text(table));
        if (now - orphan->seen_at >= SETTLE_AFTER_MS) ask(orphan);
    }
}

void stores__orphans_free(struct stores__table *table) {
    if (table->orphans == NULL) return;
    while (!stores__list_empty(&table->orphans->ages)) {
        forget(STORES__CONTAINER(table->orphans->ages.next, struct orphan, age));
    }
    free(table->orphans);
    table->orphans = NULL;
}
