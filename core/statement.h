/*
 * statement.h - one change of one row, as a statement with its parameters, copied out of the
 * caller's arguments; and what its RETURNING says. Shared by segments and transactions.
 */
#ifndef STORES_STATEMENT_H
#define STORES_STATEMENT_H

#include "commit.h"

struct stores__statement {
    stores_change_kind kind;
    struct stores__table *table; /* set by bind */
    int64_t id;
    bool want_document;
    bool replaces; /* only the text that was expected */
    const char *sql; /* the table's own, or made; set by bind */
    char *made, *expr, *name;
    int count; /* parameters */
    char *memory; /* of the parameters */
    const char **values;
};

/* Copies the change. NULL: no memory. */
struct stores__statement *stores__statement_new(const stores_change *change);
/* Fills in the table and the text. False: no memory. */
bool stores__statement_bind(struct stores__statement *statement, struct stores__table *table);
void stores__statement_free(struct stores__statement *statement);
/* Takes what RETURNING gave. The row goes into commit (NULL: none); op (NULL: it left) gets its
 * affected, inserted and document. The result is freed here, or kept by who refers to it. False:
 * *error says why the caller gets no success (the id of an INSERT is taken, no memory). */
bool stores__statement_take(const struct stores__statement *statement, stores_op *op,
                            struct pg_result *result, struct stores__commit *commit,
                            stores_error *error);
/* The verb of a kind of change, for the figures. */
enum stores__verb stores__statement_verb(stores_change_kind kind);
/* Whether this change may touch rows that RETURNING does not name. */
bool stores__statement_reaches(const struct stores__statement *statement);

#endif
