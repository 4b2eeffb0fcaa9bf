/* One change of one caller: below those who gather writes, and those who send them. */
#include "names/names.h"
#include "write/writes_internal.h"

void stores__write_free(struct stores__write *write) {
    stores__list_remove(&write->link);
    stores__statement_free(write->statement);
    stores__error_free(write->error);
    stores__spares_give(&write->writes->spares, write);
}

void stores__write_over(struct stores__write *write, const stores_error *error) {
    stores_op *op = write->op;
    if (op != NULL) {
        write->op = NULL;
        if (error != NULL) {
            stores__op_fail(op, error);
        } else {
            stores__op_finish(op);
        }
    }
    stores__write_free(write);
}

static void run_in(struct stores__list *list, struct stores__writes *writes,
                   struct stores__write *write) {
    stores__list_remove(&write->link);
    write->segment = NULL;
    write->unsure = false;
    stores__error_free(write->error);
    write->error = NULL;
    if (write->op == NULL) {
        stores__write_free(write); /* nobody waits for it, and it was not done */
        return;
    }
    stores__list_append(list, &write->link);
    stores__flush_at_end(writes->engine, &writes->flush);
}

void stores__write_run_alone(struct stores__writes *writes, struct stores__write *write) {
    run_in(&writes->alone, writes, write);
}

void stores__write_run_again(struct stores__writes *writes, struct stores__write *write) {
    run_in(&writes->queue, writes, write);
}

void stores__write_dispose(stores_op *op) {
    stores__write_free(op->stage);
}

void stores__write_begin_anew(struct stores__write *write) {
    stores_op *op = write->op;
    struct stores__table *table = stores__table_hold(write->statement->table);
    stores__list_remove(&write->link);
    write->segment = NULL;
    write->unsure = false;
    stores__error_free(write->error);
    write->error = NULL;
    op->dispose = stores__write_dispose;
    stores__table_resolve_anew(op, table);
    stores__table_let_go(table);
}
