/* Whose an epoch is, which its text tells behind the 16 random characters: the run of the Redis
 * that has it, the past of the database, and a '+' (cache.h). */
#include <stdio.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"

void stores__owner_write(const struct stores__cache *cache, const char *run_id, bool is_short,
                         char out[STORES__OWNER_TEXT]) {
    snprintf(out, STORES__OWNER_TEXT, ".%.16s.%.28s%s", run_id, cache->server.past,
             is_short ? "+" : "");
}

bool stores__epoch_make(const struct stores__cache *cache, const char *run_id,
                        char out[STORES__EPOCH_TEXT]) {
    if (!stores__past_known(cache) || !stores__random_text(out, STORES__EPOCH_RANDOM)) return false;
    if (run_id[0] == '\0') run_id = "----------------";
    stores__owner_write(cache, run_id, true, out + STORES__EPOCH_RANDOM);
    return true;
}

enum stores__owner stores__owner_of(const struct stores__epoch *epoch, const char *text,
                                    size_t len) {
    enum { DATED = 8 + 8 }; /* what tells the order of two pasts: the timeline, and the start */
    const char *past = epoch->engine->cache->server.past;
    const char *run_id = stores__epoch_node(epoch)->run_id;
    size_t run = strlen(run_id), run_at = STORES__EPOCH_RANDOM + 1, past_at = run_at + run + 1;
    size_t dated = stores__epoch_is_short(text, len) ? len - 1 : len;
    if (run == 0 || dated != past_at + strlen(past)) return STORES__OWNER_NONE;
    if (memcmp(text + run_at, run_id, run) != 0) return STORES__OWNER_NONE;
    if (memcmp(text + past_at, past, strlen(past)) == 0) return STORES__OWNER_US;
    return memcmp(text + past_at, past, DATED) < 0 ? STORES__OWNER_NONE : STORES__OWNER_LATER;
}

bool stores__epoch_is_ours(const struct stores__epoch *epoch, const char *text) {
    return stores__owner_of(epoch, text, strlen(text)) == STORES__OWNER_US;
}
