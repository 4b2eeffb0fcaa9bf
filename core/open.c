/*
 * open.c - the composition root: what an engine is made of. The only file that knows every room.
 * Each hook is called when engine/part.h says.
 */
#include "cache/cache.h"
#include "engine/part.h"
#include "names/names.h"
#include "read/reads.h"
#include "replica/replica.h"
#include "write/starve.h"
#include "write/tx_internal.h"
#include "write/writes.h"

static const struct stores__part parts[] = {
    {
        /* replicas */
        .open = stores__replicas_open,
        .identity = stores__replicas_met,
        .stats = stores__replicas_stats,
        .deafen = stores__replicas_deafen,
        .close = stores__replicas_close,
        .free = stores__replicas_free,
    },
    {
        /* cache */
        .open = stores__cache_open,
        .identity = stores__cache_met,
        .doubt = stores__cache_doubt,
        .flush = stores__cache_flush,
        .table_free = stores__cache_table_free,
        .stats = stores__cache_stats,
        .deafen = stores__cache_deafen,
        .stop = stores__cache_stop,
        .close = stores__cache_close,
        .free = stores__cache_free,
        .gone = stores__epochs_free,
    },
    {
        /* names */
        .open = stores__names_open,
        .free = stores__names_free,
    },
    {
        /* read */
        .open = stores__reads_open,
        .table_new = stores__reads_new,
        .table_free = stores__reads_free,
        .stop = stores__reads_stop,
        .gone = stores__reads_gone,
    },
    {
        /* hints which rows to read */
        .table_free = stores__hints_free,
        .stop = stores__hints_stop,
    },
    {
        /* write */
        .open = stores__writes_open,
        .stop = stores__txs_stop,
        .crowded = stores__starve_look,
        .mark = stores__mark,
        .insider = stores__tx_insider,
        .free = stores__writes_free,
    },
};

stores_engine *stores_engine_new(const stores_config *config, stores_error *error) {
    return stores__engine_open(parts, sizeof parts / sizeof parts[0], config, error);
}
