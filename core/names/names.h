/*
 * names.h - what the names of tables mean. A name as the caller writes it is resolved by the
 * server, once, so that `users` and `public.users` are one table. What it means depends on the
 * session that is asked (search_path, temporary tables): the engine remembers what a session in the
 * state that it was set up in has said, and a transaction, once a text of somebody ran in it, what
 * it said itself.
 */
#ifndef STORES_NAMES_H
#define STORES_NAMES_H

#include "engine/table.h"

enum { STORES__OWN_NAMES = 8 };

/* The names of one transaction, between two texts of its caller. Zeroed it is empty. */
struct stores__own_names {
    unsigned texts; /* of its connection when they were asked */
    int count, next;
    struct stores__own_name {
        char *text;
        struct stores__table *table; /* held */
    } * names; /* room for STORES__OWN_NAMES, from the first one on: most transactions have none */
};

/* Finds the table of a name and calls op->resolved(op, table), at once where the name is known,
 * later otherwise; fails the op where there is no such table. What keeps the table holds it. */
void stores__table_resolve(stores_op *op, const char *name);
/* The same on the connection that the op's transaction holds: another one may never become free
 * while transactions wait for each other's, and only this one sees what the transaction made. own:
 * what it said since the last text. keep: its catalog is what everybody else sees. */
void stores__table_resolve_on(stores_op *op, const char *name, struct stores__pg_conn *conn,
                              struct stores__own_names *own, bool keep);
/* Whether the server said that the table is gone that a name of the op meant: another schema of
 * search_path may have one, and nothing was done yet. Then its verb begins anew, once. */
bool stores__table_is_gone(const stores_op *op, const stores_error *error);
/* Asks what the name means now, for op->resolved. The op is in no stage, or in one that its dispose
 * frees. */
void stores__table_resolve_anew(stores_op *op, const struct stores__table *table);
/* The same in a transaction, which has failed with it: the next run of it asks. */
void stores__table_hint_gone(const struct stores__table *table, stores_error *error);
/* The table that a name is known to mean just now, without a question; NULL: none is known. */
struct stores__table *stores__table_known(stores_engine *engine, const char *name);
void stores__own_names_free(struct stores__own_names *own);
/* Forgets which names mean this table: they may mean another one by now. */
void stores__table_forget(struct stores__table *table);
/* Forgets what names mean, after the server said that a table is not there. */
void stores__table_forget_names(stores_engine *engine);
/* The engine's part (engine/part.h). */
bool stores__names_open(stores_engine *engine, const stores_config *config, stores_error *error);
/* After the pool was closed, which has answered every question. */
void stores__names_free(stores_engine *engine);

#endif
