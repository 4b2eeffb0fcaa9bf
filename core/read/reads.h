/*
 * reads.h - gathers a tick's reads by id: one MGET a table, one LEASE for what is absent, one
 * SELECT for what the cache does not have, then FILL. Only SELECTs that the engine built travel
 * here, so that they may share a Sync and a lane. Before them the hints which rows to read: one
 * MGET a table.
 */
#ifndef STORES_READS_H
#define STORES_READS_H

#include "engine/table.h"

/* The engine's part (engine/part.h). */
bool stores__reads_open(stores_engine *engine, const stores_config *config, stores_error *error);
void stores__reads_gone(stores_engine *engine);
bool stores__reads_new(struct stores__table *table);
void stores__reads_free(struct stores__table *table);
/* The engine closes: fails what is queued or waits. */
void stores__reads_stop(stores_engine *engine);
void stores__hints_stop(stores_engine *engine);
void stores__hints_free(struct stores__table *table);
/* A row's intents were seen: orphans.c asks PostgreSQL about those that stay. */
void stores__orphans_seen(struct stores__table *table, int64_t id, const char *entries, size_t len);
/* Drops what is remembered of intents. */
void stores__orphans_free(struct stores__table *table);

#endif
