/*
 * part.h - what an engine is made of besides itself. It does not know the rooms above it: the
 * composition root (open.c) hands it a list of parts, lowest first, and the engine calls each where
 * the list says so. NULL: the part has nothing to do then.
 *
 *   open   up      pool, then parts          stop   down    nothing new is begun
 *   flush  up      the end of each tick      close  down    then the pool; each says when it is
 *   gone
 *                                            free   down    all handles are closed
 *                                            gone   down    the last op, and the tables, are freed
 *
 * Up: lowest first. Down: the other way round. Where open fails, what closes is called all the
 * same, also of parts that were not opened.
 */
#ifndef STORES_PART_H
#define STORES_PART_H

#include "engine/engine.h"

struct stores__part {
    bool (*open)(stores_engine *engine, const stores_config *config, stores_error *error);
    /* A connection to PostgreSQL is ready, and told who the server is. */
    void (*identity)(stores_engine *engine, const struct stores__pg_conn *conn);
    /* A connection was lost: the server may be another one. */
    void (*doubt)(stores_engine *engine);
    /* Somebody waits for a connection, and no other one may be opened. */
    void (*crowded)(stores_engine *engine);
    /* Rows of the table are to be held in memory, and PostgreSQL has no mark that says so. */
    void (*mark)(struct stores__table *table);
    /* The op's caller holds the transaction. */
    void (*insider)(stores_tx *tx, stores_op *op);
    /* What was asked of a server in this tick goes out. */
    void (*flush)(stores_engine *engine);
    bool (*table_new)(struct stores__table *table); /* false: no memory */
    void (*table_free)(struct stores__table *table); /* also of one that table_new made in part */
    void (*stats)(const stores_engine *engine,
                  void (*figure)(void *arg, const char *name, double value), void *arg);
    /* In a child of a fork: closes the parent's sockets, with the deaf one in their place
     * (base/deaf.h). */
    void (*deafen)(stores_engine *engine, int deaf);
    /* The engine closes: every op has ended. What waits for a timer or a connection ends. */
    void (*stop)(stores_engine *engine);
    /* True: closed(engine) comes, from the loop, when what the part has on it is closed. */
    bool (*close)(stores_engine *engine, void (*closed)(void *engine));
    void (*free)(stores_engine *engine);
    void (*gone)(stores_engine *engine);
};

/* Calls the hook of every part that has it, with the arguments that follow. */
#define STORES__UPWARDS(engine, hook, ...)                                                         \
    for (int i = 0; i < (engine)->part_count; i++)                                                 \
        if ((engine)->parts[i].hook != NULL) (engine)->parts[i].hook(__VA_ARGS__)
#define STORES__DOWNWARDS(engine, hook, ...)                                                       \
    for (int i = (engine)->part_count - 1; i >= 0; i--)                                            \
        if ((engine)->parts[i].hook != NULL) (engine)->parts[i].hook(__VA_ARGS__)

/* An engine of these parts, which outlive it. NULL: *error says why. */
stores_engine *stores__engine_open(const struct stores__part *parts, int part_count,
                                   const stores_config *config, stores_error *error);

#endif
