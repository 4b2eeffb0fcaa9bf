/*
 * writes.h - gathers a tick's writes by id into segments: one transaction, one flush to disk, one
 * INTENT and one SETTLE for all of them. Each caller gets its own result, and failures stay its
 * own.
 */
#ifndef STORES_WRITES_H
#define STORES_WRITES_H

#include "engine/engine.h"

/* The engine's part (engine/part.h). */
bool stores__writes_open(stores_engine *engine, const stores_config *config, stores_error *error);
void stores__writes_free(stores_engine *engine);
/* Rows of the table are to be held in memory: makes the mark that says so, in the background, where
 * that was not tried a moment ago. */
void stores__mark(struct stores__table *table);

#endif
