/* Who a holder is, and how long its leases are, which its id tells. */
#include <stdio.h>
#include <unistd.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"
#include "cache/held.h"

#define MS UINT64_C(1000000)

enum { OLDER_MS = 60 * 1000 };

uint64_t stores__held_lease(const struct stores__held *held) {
    const struct stores__held_memory *memory = held->epoch->engine->cache->memory;
    uint64_t own = memory->lease_ms, longest = held->epoch->longest;
    bool older = memory->older_at != 0 && stores__held_now() < memory->older_at + OLDER_MS * MS;
    if (older && longest > STORES__LEASE_MS) longest = STORES__LEASE_MS;
    return own < longest ? own : longest;
}

bool stores__held_name(struct stores__held *held) {
    char host[48] = "", random[17], lease[24] = "";
    if (!stores__random_text(random, 16)) return false;
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    for (char *c = host; *c; c++) {
        if (*c <= ' ' || *c == ':') *c = '_';
    }
    held->lease_ms = stores__held_lease(held);
    if (held->lease_ms != STORES__LEASE_MS) {
        snprintf(lease, sizeof lease, "/%llu", (unsigned long long)held->lease_ms);
    }
    snprintf(held->id, sizeof held->id, "%s:%ld:%s%s", host, (long)getpid(), random, lease);
    return true;
}

const char *stores__held_own(const struct stores__epoch *epoch) {
    return epoch->held != NULL && epoch->held->registered ? epoch->held->id : "";
}

bool stores__held_owner(const struct stores__epoch *epoch, char out[STORES__OWNER_TEXT]) {
    const struct stores__cache *cache = epoch->engine->cache;
    const char *run_id = stores__epoch_node(epoch)->run_id;
    if (!stores__past_known(cache) || run_id[0] == '\0') return false;
    const char *believed = epoch->texts.believed;
    size_t len = strlen(believed);
    stores__owner_write(cache, run_id, len == 0 || stores__epoch_is_short(believed, len), out);
    return true;
}

bool stores__held_says(struct stores__args *args, const struct stores__held *held) {
    char owner[STORES__OWNER_TEXT], seen[24];
    if (!stores__held_owner(held->epoch, owner)) return false;
    stores__args_epoch_key(args, held->epoch);
    stores__args_held_key(args, held->epoch);
    stores__args_str(args, owner);
    stores__args_str(args, held->id);
    stores__args_str(args, held->nonce);
    stores__args_add(args, seen, stores__id_write((int64_t)held->seq, seen));
    return true;
}

void stores__held_older(struct stores__cache *cache) {
    struct stores__held_memory *memory = cache->memory;
    memory->older_at = stores__held_now();
    if (memory->lease_ms > STORES__LEASE_MS) {
        stores__held_shorter(cache, "a process of an older version, which waits for a second at "
                                    "most, writes it");
    }
}
