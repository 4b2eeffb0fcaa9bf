#include "names/spread.h"

#include "names/names.h"

static uint32_t rotate(uint32_t value, unsigned by) {
    return value << by | value >> (32 - by);
}

/* hashint8 and hash_bytes_uint32 (common/hashfn.c of PostgreSQL), which is lookup3 of Bob Jenkins
 * for one word. */
int32_t stores__spread_hash(int64_t id) {
    uint32_t low = (uint32_t)id, high = (uint32_t)((uint64_t)id >> 32);
    uint32_t a, b, c;
    a = b = c = UINT32_C(0x9e3779b9) + 4 + 3923095;
    a += low ^ (id >= 0 ? high : ~high);
    c ^= b, c -= rotate(b, 14);
    a ^= c, a -= rotate(c, 11);
    b ^= a, b -= rotate(a, 25);
    c ^= b, c -= rotate(b, 16);
    a ^= c, a -= rotate(c, 4);
    b ^= a, b -= rotate(a, 14);
    c ^= b, c -= rotate(b, 24);
    return (int32_t)c;
}

/* Without memory for them the shards are not known. */
static void take_shards(struct stores__table *table, const char *text) {
    size_t count = 1;
    for (const char *at = text; *at != '\0'; at++) count += *at == ',';
    int32_t *shards = *text == '\0' ? NULL : malloc(count * sizeof *shards);
    if (shards == NULL) return;
    for (size_t i = 0; i < count; i++) {
        char *end = NULL;
        shards[i] = (int32_t)strtol(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    table->shards = shards;
    table->shard_count = count;
}

void stores__spread_take(struct stores__table *table, const char *text) {
    free(table->shards);
    table->shards = NULL;
    table->shard_count = 0;
    table->spread = STORES__SPREAD_NONE;
    if (text == NULL) return;
    if (text[0] == 'r') table->spread = STORES__SPREAD_COPIED;
    if (text[0] == 'd') table->spread = STORES__SPREAD_OTHERWISE;
    if (text[0] == 'h') {
        table->spread = STORES__SPREAD_BY_ID;
        take_shards(table, text + 1);
    }
}

size_t stores__spread_shard(const struct stores__table *table, int64_t id) {
    int32_t hash = stores__spread_hash(id);
    size_t low = 0, high = table->shard_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (table->shards[middle] <= hash) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

bool stores_is_citus(stores_engine *engine) {
    return engine->pool.common.citus;
}

const char *stores_spread(stores_engine *engine, const char *table) {
    const struct stores__table *met = stores__table_known(engine, table);
    if (met == NULL || !met->known || met->spread == STORES__SPREAD_NONE) return NULL;
    return met->spread == STORES__SPREAD_COPIED ? "reference" : "distributed";
}
