/* The questions that names put to the server, and who waits for an answer. Of a name that is new
 * the first one is brief: most tables are such of which there is little to say. */
#include "names/names.h"

#include <stdio.h>

#include "names/facts.h"
#include "names/internal.h"

/* A table that comes before another one in search_path is seen after it, and so are facts that are
 * others now, which come with the answer: hits alone never ask for them. */
enum { FRESH_MS = 10000 };

/* A name that the server is asked for, on a lane for all who wait for it, or on the connection of a
 * transaction for its op. */
struct question {
    struct stores__list link; /* a bucket of names->asked, for those on lanes */
    uint64_t hash;
    stores_engine *engine;
    struct stores__list waiters; /* ops by stage_link */
    struct stores__own_names
        *own; /* the transaction's, as long as its op waits; NULL: everybody's */
    unsigned texts, forgotten; /* what it would have to be forgotten for */
    bool keep, again; /* again: the one retry after a lost connection was used */
    bool answered, stale;
    bool more; /* the server answered that it is another question that is to be asked */
    struct stores__table *table; /* held */
    struct stores__pg_conn *conn;
    struct stores__pg_wait wait;
    struct stores__pg_req req;
    struct stores__facts_asked asked;
    stores_error error;
    char quoted[STORES__TABLE_NAME_MAX];
    char text[];
};

/* ---- Questions ------------------------------------------------------------------------------- */

/* table is held, or NULL. */
static void set_table(struct question *question, struct stores__table *table) {
    stores__table_let_go(question->table);
    question->table = table;
}

/* What the catalog said. */
static void take_answer(struct question *question, struct pg_result *result) {
    stores_error *error = &question->error;
    if (stores__pg_rows(result) == 0) {
        stores__error_set(error, STORES_TABLE_NOT_FOUND, "there is no table %s", question->quoted);
        snprintf(error->table, sizeof error->table, "%s", question->quoted);
        return;
    }
    const char *quoted = stores__pg_value(result, 0, 0, NULL);
    if (quoted == NULL) {
        stores__error_set(error, STORES_INTERNAL, "the server gives no name of the table %s",
                          question->quoted);
        return;
    }
    struct stores__table *table = stores__table_get(question->engine, quoted);
    if (table != NULL && stores__facts_learn(table, result, &question->asked)) {
        set_table(question, table);
    } else {
        stores__table_let_go(table);
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a table");
    }
}

static void took(struct stores__pg_req *req, int index, struct pg_result *result) {
    struct question *question = STORES__CONTAINER(req, struct question, req);
    (void)index;
    if (stores__pg_result_ok(result, &question->error)) {
        question->answered = stores__facts_are_told(result, &question->asked);
        question->more = !question->answered;
        if (question->answered) take_answer(question, result);
    }
    if (stores__pg_stale_plan(req)) {
        stores__pg_forget_statements(question->conn);
        question->stale = true;
        question->error.code = STORES_SERIALIZATION; /* the next run of its transaction works */
        question->error.retryable = true;
    }
    stores__pg_result_free(result);
}

/* The answer is everybody's where nothing came in between. */
static void keep_answer(struct question *question) {
    stores_engine *engine = question->engine;
    if (question->own != NULL) {
        if (question->table != NULL && question->own->texts == question->texts) {
            stores__own_names_remember(question->own, question->text, question->table);
        }
        return;
    }
    if (!question->answered || !question->keep) return;
    struct stores__table_name *name = stores__names_find(engine, question->text);
    if (question->table != NULL && question->forgotten == engine->names->forgotten) {
        stores__names_remember(engine, question->text, question->table);
    } else if (name != NULL) {
        stores__names_drop(engine, name);
    }
}

static void tell(struct question *question) {
    struct stores__list waiters;
    stores__list_init(&waiters);
    stores__list_move(&question->waiters, &waiters);
    stores__list_remove(&question->link);
    if (stores__list_empty(&waiters)) question->own = NULL; /* its transaction may be gone */
    keep_answer(question);
    for (struct stores__list *at; (at = stores__list_shift(&waiters)) != NULL;) {
        stores_op *op = STORES__CONTAINER(at, stores_op, stage_link);
        op->leave = NULL;
        if (question->table != NULL) {
            op->resolved(op, question->table);
        } else {
            stores__op_fail(op, &question->error);
        }
    }
    set_table(question, NULL);
    free(question);
}

static void put(struct question *question, struct stores__pg_conn *conn, bool committed) {
    const char *values[] = {question->quoted};
    question->forgotten = question->engine->names->forgotten;
    question->texts = conn->texts;
    question->stale = question->more = false;
    question->req.result = took;
    question->conn = conn;
    question->asked = stores__facts_ask(question->engine, question->asked.depth, committed);
    stores__pg_begin(conn, &question->req);
    stores__pg_add(conn, &question->req, stores__facts_sql(question->engine, question->asked.depth),
                   1, values, true);
    stores__pg_sync(conn, &question->req);
}

/* Each question has a retry of its own. What an attempt before it failed with does not matter. */
static bool needs_more(struct question *question, enum stores__pg_end end) {
    if (end == STORES__PG_LOST || !question->more) return false;
    question->again = false;
    return true;
}

/* Parsed first: a name that cannot be is asked of nobody. */
static struct question *question_new(stores_engine *engine, const char *text, stores_error *error) {
    char quoted[STORES__TABLE_NAME_MAX];
    size_t len = strlen(text);
    if (!stores__table_parse(text, quoted, sizeof quoted, error)) return NULL;
    struct question *question = calloc(1, sizeof *question + len + 1);
    if (question == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a table's name");
        return NULL;
    }
    memcpy(question->text, text, len + 1);
    memcpy(question->quoted, quoted, sizeof quoted);
    question->engine = engine;
    question->hash = stores__hash(text, len);
    stores__list_init(&question->link);
    stores__list_init(&question->waiters);
    stores__list_init(&question->wait.link);
    return question;
}

static stores_outcome leave_question(stores_op *op) {
    stores__list_remove(&op->stage_link);
    return STORES_OUTCOME_NONE;
}

static void wait_for(struct question *question, stores_op *op) {
    stores__list_append(&question->waiters, &op->stage_link);
    op->leave = leave_question;
}

/* ---- Asking on a lane ------------------------------------------------------------------------ */

static void ask(struct question *question);

static void lane_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct question *question = STORES__CONTAINER(req, struct question, req);
    if (needs_more(question, end)) {
        ask(question);
        return;
    }
    if ((end == STORES__PG_LOST || question->stale) && !question->answered) {
        if (!question->again || req->stalled) {
            question->again = !req->stalled;
            ask(question);
            return;
        }
        if (end == STORES__PG_LOST) {
            stores__error_set(&question->error, STORES_CONNECTION_LOST,
                              "the connection was lost while asking for the table");
        }
    }
    tell(question);
}

static void granted(struct stores__pg_wait *wait, struct stores__pg_conn *conn) {
    struct question *question = STORES__CONTAINER(wait, struct question, wait);
    question->req.again = true;
    question->req.done = lane_over;
    put(question, conn, !conn->standby);
}

static void not_granted(struct stores__pg_wait *wait, const stores_error *error) {
    struct question *question = STORES__CONTAINER(wait, struct question, wait);
    question->error = *error;
    tell(question);
}

static void ask(struct question *question) {
    question->wait.granted = granted;
    question->wait.failed = not_granted;
    stores__pg_acquire(&question->engine->pool, &question->wait, STORES__PG_READING, "lookups");
}

/* What was put to the server before something of the engine may have changed what names mean. */
static bool is_of_before(const struct question *question) {
    return question->conn != NULL && question->forgotten != question->engine->names->forgotten;
}

/* One that somebody waits for already; NULL: none. */
static struct question *asked_already(stores_engine *engine, const char *text) {
    uint64_t hash = stores__hash(text, strlen(text));
    struct stores__list *asked = &engine->names->asked[hash % STORES__NAME_BUCKETS];
    for (struct stores__list *at = asked->next; at != asked; at = at->next) {
        struct question *question = STORES__CONTAINER(at, struct question, link);
        if (question->hash != hash || is_of_before(question)) continue;
        if (strcmp(question->text, text) == 0) return question;
    }
    return NULL;
}

static void ask_on_a_lane(stores_engine *engine, struct question *question) {
    question->keep = true;
    struct stores__list *bucket = &engine->names->asked[question->hash % STORES__NAME_BUCKETS];
    stores__list_append(bucket, &question->link);
    ask(question);
}

/* A name may mean another table by now: nobody waits for that. */
static void ask_again(stores_engine *engine, struct stores__table_name *name) {
    stores_error error;
    if (stores__now(engine) - name->asked_at < FRESH_MS) return;
    struct question *question = question_new(engine, name->text, &error);
    if (question == NULL) return;
    question->asked.depth = stores__facts_depth(name->table);
    name->asked_at = stores__now(engine); /* a question without an answer is asked again later */
    ask_on_a_lane(engine, question);
}

void stores__table_resolve(stores_op *op, const char *text) {
    stores_engine *engine = op->engine;
    stores_error error;
    if (op->state != STORES__OP_PENDING) return; /* the engine closes: it has failed already */
    if (text == NULL) text = "";
    struct stores__table_name *name = stores__names_find(engine, text);
    if (name != NULL) {
        struct stores__table *table = name->table;
        op->bare = name->bare;
        ask_again(engine, name);
        op->resolved(op, table);
        return;
    }
    stores__op_phase(op, stores__pg_wait_phase(&engine->pool));
    struct question *question = asked_already(engine, text);
    if (question != NULL && question->wait.waiting && stores__list_empty(&question->waiters)) {
        /* those who asked have left: their wait is nearly over, and this one's begins */
        stores__pg_unwait(&question->wait);
        wait_for(question, op);
        ask(question);
        return;
    }
    if (question != NULL) {
        wait_for(question, op);
        return;
    }
    question = question_new(engine, text, &error);
    if (question == NULL) {
        stores__op_fail(op, &error);
        return;
    }
    wait_for(question, op);
    ask_on_a_lane(engine, question);
}

/* ---- A table that is gone -------------------------------------------------------------------- */

/* In the text of the statement, that is: one that a trigger asks for is no other table by a name of
 * ours. */
static bool says_it_is_gone(const stores_error *error) {
    return error->code == STORES_TABLE_NOT_FOUND && error->position > 0;
}

/* What stands behind the schema; NULL: there is none. */
static const char *without_schema(const char *name) {
    bool inside = false;
    for (; *name != '\0'; name++) {
        if (*name == '"') inside = !inside;
        if (*name == '.' && !inside) return name + 1;
    }
    return NULL;
}

bool stores__table_is_gone(const stores_op *op, const stores_error *error) {
    return op->bare && !op->asked_anew && says_it_is_gone(error) && !stores__closing(op->engine);
}

void stores__table_resolve_anew(stores_op *op, const struct stores__table *table) {
    char text[STORES__TABLE_NAME_MAX];
    const char *bare = without_schema(table->name);
    snprintf(text, sizeof text, "%s", bare ? bare : table->name);
    op->asked_anew = true;
    op->retries++;
    op->leave = NULL;
    stores__table_forget_names(op->engine);
    stores__table_resolve(op, text);
}

void stores__table_hint_gone(const struct stores__table *table, stores_error *error) {
    if (table == NULL || !says_it_is_gone(error) || error->outcome != STORES_OUTCOME_NONE) return;
    /* the caller's text may miss another one, or say a name that no FROM has */
    if (!stores__error_points_at(error, table->name)) return;
    error->retryable = true;
    snprintf(error->hint, sizeof error->hint, "%s",
             "another table may have its name by now, which the next transaction asks for");
}

/* ---- Asking on a transaction's own connection ------------------------------------------------ */

static void own_over(struct stores__pg_req *req, enum stores__pg_end end) {
    struct question *question = STORES__CONTAINER(req, struct question, req);
    if (!stores__list_empty(&question->waiters) && needs_more(question, end)) {
        put(question, question->conn, false);
        return;
    }
    if (end == STORES__PG_LOST) {
        set_table(question, NULL);
        stores__error_set(&question->error, STORES_CONNECTION_LOST,
                          "the connection was lost, and the transaction with it");
    }
    tell(question);
}

void stores__table_resolve_on(stores_op *op, const char *text, struct stores__pg_conn *conn,
                              struct stores__own_names *own, bool keep) {
    stores_engine *engine = op->engine;
    stores_error error;
    if (op->state != STORES__OP_PENDING) return;
    if (text == NULL) text = "";
    bool pristine = conn->texts == 0; /* it sees what everybody sees */
    struct stores__table_name *name = pristine ? stores__names_find(engine, text) : NULL;
    struct stores__table *table = name ? name->table
                                       : stores__own_names_find(own, text, conn->texts);
    if (table != NULL) {
        op->resolved(op, table);
        return;
    }
    struct question *question = question_new(engine, text, &error);
    if (question == NULL) {
        stores__op_fail(op, &error);
        return;
    }
    question->keep = pristine && keep;
    question->own = question->keep ? NULL : own;
    question->req.done = own_over;
    wait_for(question, op);
    put(question, conn, false);
}
