/*
 * statement.h - one change of one row, as a statement with its parameters, copied out of the
 * caller's arguments; and what its RETURNING says. Shared by segments and transactions.
 */
#ifndef STORES_STATEMENT_H
#define STORES_STATEMENT_H

#include "write/commit.h"
#include "names/facts.h"

/* What the row has to hold still for it to be changed: the last parameter. */
enum stores__guard { STORES__ANY, STORES__THAT_TEXT, STORES__THAT_ETAG };

struct stores__statement {
    stores_change_kind kind;
    struct stores__table *table; /* set by bind; held */
    int64_t id;
    bool want_document;
    bool foreign; /* an expression of somebody is in it, which may leave something in the session */
    enum stores__guard guard;
    bool inserts_new; /* an INSERT that gives no row where the id is taken */
    const char *sql; /* the table's own, or made; set by bind */
    char *made;
    const char *expr, *condition, *name;
    int count; /* parameters */
    const char **values;
    /* Of a bulk's parameters; NULL: they lie behind the statement, in its own memory, as do the
     * texts above, but for `made`. */
    char *memory;
    const char **apart;
};

/* A caller's change as this library knows it: *change itself, or what was filled in here. */
struct stores__known_change {
    const stores_change *change;
    const stores_params *params; /* of a MODIFY, and of a condition; NULL: none */
    stores_change own_change;
    stores_params own_params;
};

/* What can be said of a change before its table is known. False: the op has failed. */
bool stores__change_fits(stores_op *op, const stores_change *given,
                         struct stores__known_change *known);
/* Copies the change. NULL: no memory. */
struct stores__statement *stores__statement_new(const struct stores__known_change *known);
/* Fills in the table and the text. False: no memory. */
bool stores__statement_bind(struct stores__statement *statement, struct stores__table *table);
void stores__statement_free(struct stores__statement *statement);
/* Which form of an INSERT is sent. alone: its transaction ends where it fails, or it is one by
 * itself. Then an id that is taken is an error of the server's, which undoes what triggers did
 * before it. In company that would undo the others, too: then no row is given. */
void stores__statement_choose(struct stores__statement *statement, bool alone);

enum stores__taken {
    STORES__TAKEN,
    STORES__TAKE_FAILED, /* *error says why the caller gets no success */
    /* An INSERT gave no row: its id is taken, or something took the row elsewhere, which the facts
     * of the table are to say, asked now. Nothing else is known before. */
    STORES__TAKE_UNSURE
};

/* Takes what RETURNING gave. The row goes into commit (NULL: none); op (NULL: it left) gets its id,
 * affected, inserted and document. The result is freed here, or kept by who refers to it. */
enum stores__taken stores__statement_take(const struct stores__statement *statement, stores_op *op,
                                          struct pg_result *result, struct stores__commit *commit,
                                          stores_error *error);
/* The same of a row of a result that has several: the blob is the result's. */
void stores__statement_take_row(const struct stores__statement *statement, stores_op *op,
                                const struct pg_result *result, int index,
                                struct stores__blob *blob, struct stores__commit *commit);
/* The same where no row is this statement's. */
enum stores__taken stores__statement_take_none(const struct stores__statement *statement,
                                               stores_op *op);
/* What an INSERT that gave no row means, by the facts of its table that were asked since: its id is
 * taken. False: a trigger that nobody knew of took the row elsewhere, perhaps, and what it did
 * before cannot be undone alone; run again, the INSERT is of the form whose failure undoes it. */
bool stores__statement_is_taken(const struct stores__statement *statement, stores_error *error);
/* What an error of the server means for this statement: an id that is taken is no other
 * constraint. */
void stores__statement_explain(const struct stores__statement *statement, stores_error *error);
/* Whether it says that an id is taken, of this table or another one. */
bool stores__error_is_of_id(const stores_error *error);
/* The verb of a kind of change, for the figures. */
enum stores__verb stores__statement_verb(stores_change_kind kind);
/* Whether this change ran code of somebody, as far as the facts say: a trigger, or what a view or a
 * rule leads to. */
bool stores__statement_fires(const struct stores__statement *statement);
/* Whether this change may touch rows that RETURNING does not name, as far as the facts say. */
bool stores__statement_reaches(const struct stores__statement *statement);

#endif
