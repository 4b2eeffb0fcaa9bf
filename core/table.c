#include "table.h"

#include <stdio.h>

#include "cache.h"
#include "facts.h"
#include "reads.h"

/* One way of writing a table's name. */
struct stores__table_name {
    struct stores__table_name *chain;
    stores_engine *engine;
    struct stores__table *table; /* NULL while nobody asked, and while the answer is awaited */
    bool asking, again; /* again: the one retry after a lost connection was used */
    struct stores__list waiters; /* ops by stage_link */
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__facts_asked asked;
    stores_error error;
    bool answered;
    char quoted[STORES__TABLE_NAME_MAX];
    char text[];
};

/* ---- Known tables ---------------------------------------------------------------------------- */

struct stores__table *stores__table_known(stores_engine *engine, const char *quoted) {
    for (struct stores__list *at = engine->tables.next; at != &engine->tables; at = at->next) {
        struct stores__table *table = STORES__CONTAINER(at, struct stores__table, link);
        if (strcmp(table->name, quoted) == 0) return table;
    }
    return NULL;
}

static void free_table(struct stores__table *table) {
    stores__list_remove(&table->link);
    stores__orphans_free(table);
    stores__epoch_let_go(table->epoch);
    stores__reads_free(table);
    stores__table_sql_free(table);
    free(table);
}

struct stores__table *stores__table_get(stores_engine *engine, const char *quoted) {
    struct stores__table *table = stores__table_known(engine, quoted);
    if (table != NULL) return table;
    table = calloc(1, sizeof *table);
    if (table == NULL) return NULL;
    stores__list_init(&table->link);
    table->engine = engine;
    strncpy(table->name, quoted, sizeof table->name - 1);
    if (!stores__table_sql_make(table) || !stores__reads_new(table)) {
        free_table(table);
        return NULL;
    }
    stores__list_append(&engine->tables, &table->link);
    return table;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

static void ask(struct stores__table_name *name);

static void tell(struct stores__table_name *name) {
    struct stores__list batch;
    stores__list_init(&batch);
    stores__list_move(&name->waiters, &batch);
    name->asking = false;
    for (struct stores__list *at; (at = stores__list_shift(&batch)) != NULL;) {
        stores_op *op = STORES__CONTAINER(at, stores_op, stage_link);
        op->leave = NULL;
        if (name->table != NULL) {
            op->resolved(op, name->table);
        } else {
            stores__op_fail(op, &name->error);
        }
    }
}

/* What the catalog said of a name. */
static void take_answer(struct stores__table_name *name, struct pg_result *result,
                        const struct stores__facts_asked *asked, stores_error *error) {
    if (stores__pg_rows(result) == 0) {
        stores__error_set(error, STORES_TABLE_NOT_FOUND, "there is no table %s", name->quoted);
        snprintf(error->table, sizeof error->table, "%s", name->quoted);
        return;
    }
    const char *quoted = stores__pg_value(result, 0, 0, NULL);
    if (quoted == NULL) {
        stores__error_set(error, STORES_INTERNAL, "the server gives no name of the table %s",
                          name->quoted);
        return;
    }
    name->table = stores__table_get(name->engine, quoted);
    if (name->table != NULL && !stores__facts_learn(name->table, result, 0, asked)) {
        name->table = NULL;
    }
    if (name->table == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a table");
    }
}

static void learned(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct stores__table_name *name = STORES__CONTAINER(req, struct stores__table_name, req);
    (void)index;
    if (stores__pg_result_ok(result, &name->error)) {
        name->answered = true;
        take_answer(name, result, &name->asked, &name->error);
    }
    stores__pg_result_free(result);
}

static void learned_all(struct stores__pg_req *req, enum stores__pg_end end) {
    struct stores__table_name *name = STORES__CONTAINER(req, struct stores__table_name, req);
    if (end == STORES__PG_LOST && !name->answered) {
        if (!name->again || req->stalled) {
            name->again = !req->stalled;
            ask(name);
            return;
        }
        stores__error_set(&name->error, STORES_CONNECTION_LOST,
                          "the connection was lost while asking for the table");
    }
    tell(name);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct stores__table_name *name = STORES__CONTAINER(wait, struct stores__table_name, wait);
    const char *values[] = {name->quoted};
    name->req.again = true;
    name->req.result = learned;
    name->req.done = learned_all;
    name->asked = stores__facts_ask(name->engine, !conn->standby);
    stores__pg_begin(conn, &name->req);
    stores__pg_add(conn, &name->req, stores__facts_sql, 1, values, true);
    stores__pg_sync(conn, &name->req);
}

static void not_granted(struct stores__pg_wait *wait, const stores_error *error) {
    struct stores__table_name *name = STORES__CONTAINER(wait, struct stores__table_name, wait);
    name->error = *error;
    tell(name);
}

static void ask(struct stores__table_name *name) {
    name->asking = true;
    name->answered = false;
    name->wait.granted = granted;
    name->wait.failed = not_granted;
    stores__pg_acquire(&name->engine->pool, &name->wait, STORES__PG_READING, "lookups");
}

static struct stores__table_name *name_find(stores_engine *engine, const char *text,
                                            size_t bucket) {
    struct stores__table_name *name = engine->names[bucket];
    while (name != NULL && strcmp(name->text, text) != 0) name = name->chain;
    return name;
}

/* Parsed before it is kept: a name that cannot be is not worth an entry. */
static struct stores__table_name *name_add(stores_engine *engine, const char *text, size_t bucket,
                                           stores_error *error) {
    char quoted[STORES__TABLE_NAME_MAX];
    size_t len = strlen(text);
    if (!stores__table_parse(text, quoted, sizeof quoted, error)) return NULL;
    struct stores__table_name *name = calloc(1, sizeof *name + len + 1);
    if (name == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a table's name");
        return NULL;
    }
    memcpy(name->text, text, len + 1);
    memcpy(name->quoted, quoted, sizeof quoted);
    name->engine = engine;
    stores__list_init(&name->waiters);
    stores__list_init(&name->wait.link);
    name->chain = engine->names[bucket];
    engine->names[bucket] = name;
    return name;
}

static stores_outcome leave_name(stores_op *op) {
    stores__list_remove(&op->stage_link);
    return STORES_OUTCOME_NONE;
}

/* The entry of a name; the op goes on at once where its table is known, and fails where it is no
 * name, and then there is nothing more to do: NULL. */
static struct stores__table_name *unknown_name(stores_op *op, const char *text) {
    stores_engine *engine = op->engine;
    stores_error error;
    if (op->state != STORES__OP_PENDING) return NULL; /* the engine closes: it has failed already */
    if (text == NULL) text = "";
    struct stores__table_name *name = engine->last_name;
    if (name == NULL || strcmp(name->text, text) != 0) {
        size_t bucket = stores__hash(text, strlen(text)) % STORES__NAME_BUCKETS;
        name = name_find(engine, text, bucket);
        if (name == NULL) name = name_add(engine, text, bucket, &error);
    }
    if (name == NULL) {
        stores__op_fail(op, &error);
        return NULL;
    }
    engine->last_name = name;
    if (name->table == NULL) return name;
    op->resolved(op, name->table);
    return NULL;
}

void stores__table_resolve(stores_op *op, const char *text) {
    struct stores__table_name *name = unknown_name(op, text);
    if (name == NULL) return;
    stores__op_phase(op, stores__pg_wait_phase(&op->engine->pool));
    if (name->wait.waiting && stores__list_empty(&name->waiters)) {
        /* those who asked have left: their wait is nearly over, and this one's begins */
        stores__pg_unwait(&name->wait);
        name->asking = false;
    }
    stores__list_append(&name->waiters, &op->stage_link);
    op->leave = leave_name;
    if (!name->asking) {
        name->again = false;
        ask(name);
    }
}

/* ---- Asking on a transaction's own connection ------------------------------------------------ */

struct lookup {
    struct stores__pg_req req;
    struct stores__facts_asked asked;
    struct stores__table_name *name;
    struct stores__list waiters; /* the op, until it leaves */
    struct stores__table *table;
    stores_error error;
};

static void looked_up(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct lookup *lookup = STORES__CONTAINER(req, struct lookup, req);
    (void)index;
    if (stores__pg_result_ok(result, &lookup->error)) {
        take_answer(lookup->name, result, &lookup->asked, &lookup->error);
        lookup->table = lookup->name->table;
    }
    stores__pg_result_free(result);
}

static void lookup_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct lookup *lookup = STORES__CONTAINER(req, struct lookup, req);
    struct stores__list *at = stores__list_shift(&lookup->waiters);
    stores_op *op = at ? STORES__CONTAINER(at, stores_op, stage_link) : NULL;
    struct stores__table *table = lookup->table;
    if (end == STORES__PG_LOST) {
        table = NULL;
        stores__error_set(&lookup->error, STORES_CONNECTION_LOST,
                          "the connection was lost, and the transaction with it");
    }
    if (op != NULL) op->leave = NULL;
    if (op != NULL && table == NULL) stores__op_fail(op, &lookup->error);
    free(lookup);
    if (op != NULL && table != NULL) op->resolved(op, table);
}

void stores__table_resolve_on(stores_op *op, const char *text, struct stores__pg_conn *conn) {
    struct stores__table_name *name = unknown_name(op, text);
    if (name == NULL) return;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL) {
        stores__op_failf(op, STORES_NO_MEMORY, "no memory for a table");
        return;
    }
    const char *values[] = {name->quoted};
    lookup->name = name;
    stores__list_init(&lookup->waiters);
    stores__list_append(&lookup->waiters, &op->stage_link);
    op->leave = leave_name;
    lookup->req.result = looked_up;
    lookup->req.done = lookup_over;
    lookup->asked = stores__facts_ask(op->engine, false);
    stores__pg_begin(conn, &lookup->req);
    stores__pg_add(conn, &lookup->req, stores__facts_sql, 1, values, true);
    stores__pg_sync(conn, &lookup->req);
}

static void forget_names(stores_engine *engine, const struct stores__table *table) {
    for (int i = 0; i < STORES__NAME_BUCKETS; i++) {
        for (struct stores__table_name *name = engine->names[i]; name; name = name->chain) {
            if (table == NULL || name->table == table) name->table = NULL;
        }
    }
}

void stores__table_forget_names(stores_engine *engine) {
    forget_names(engine, NULL);
}

void stores__table_forget(struct stores__table *table) {
    forget_names(table->engine, table);
}

void stores__tables_free(stores_engine *engine) {
    engine->last_name = NULL;
    for (int i = 0; i < STORES__NAME_BUCKETS; i++) {
        while (engine->names[i] != NULL) {
            struct stores__table_name *name = engine->names[i];
            engine->names[i] = name->chain;
            free(name);
        }
    }
    while (!stores__list_empty(&engine->tables)) {
        free_table(STORES__CONTAINER(engine->tables.next, struct stores__table, link));
    }
}
