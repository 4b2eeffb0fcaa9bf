/* A table that this process holds: see held.h. */
#include "cache/held.h"

#include <stdio.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"
#include "cache/held_scripts.h"

#define MS UINT64_C(1000000)

enum {
    RETRY_MS = 100, /* after Redis did not answer, or refused */
    BEHIND_MS = 2 /* a message that the hash has counted is on its way */
};

static struct stores__redis_script script_hold = {.source = STORES__SCRIPT_HOLD};
static struct stores__redis_script script_evict = {.source = STORES__SCRIPT_EVICT};

static struct stores__cache *cache_of(const struct stores__held *held) {
    return held->epoch->engine->cache;
}

static struct stores__held *held_of(struct stores__epoch *epoch) {
    if (epoch->held != NULL) return epoch->held;
    struct stores__held *held = calloc(1, sizeof *held);
    if (held == NULL) return NULL;
    held->epoch = epoch;
    if (!stores__held_name(held)) {
        free(held);
        return NULL;
    }
    stores__list_init(&held->link);
    stores__list_append(&epoch->engine->cache->held, &held->link);
    epoch->held = held;
    return held;
}

/* ---- What was learned, and its end ----------------------------------------------------------- */

/* Its ear is not what it was when it subscribed there. */
bool stores__held_deaf(const struct stores__held *held) {
    return held->step < HELD_LEARNING ||
           held->connects != stores__ear_connects(stores__epoch_node(held->epoch));
}

static void unlearn(struct stores__held *held, enum stores__held_step step) {
    stores__held_drop_all(held);
    held->stir++;
    held->session++;
    held->nonce[0] = '\0';
    held->seq = held->behind = held->said = 0;
    held->lease_ends = 0;
    held->step = step;
}

static void left(struct stores__redis_req *req, struct redisReply **reply) {
    (void)reply; /* a field that stays is waited for once */
    free(req);
}

/* The next that is learned goes by another name: a late copy of this can do no harm. */
static void leave(struct stores__held *held) {
    struct stores__args args = {0};
    struct stores__redis_req *req = held->registered ? calloc(1, sizeof *req) : NULL;
    unlearn(held, held->step < HELD_LEARNING ? HELD_IDLE : HELD_LEARNING);
    if (req != NULL) {
        req->done = left;
        stores__args_str(&args, "HDEL");
        stores__args_held_key(&args, held->epoch);
        stores__args_str(&args, held->id);
        if (!stores__args_send(&args, cache_of(held), req, NULL, 0)) free(req);
        req = NULL;
    }
    held->registered = held->granted = false;
    if (!stores__held_name(held)) held->step = HELD_IDLE;
}

void stores__held_forget(struct stores__epoch *epoch) {
    struct stores__held *held = epoch->held;
    if (held != NULL && held->step >= HELD_LEARNING) unlearn(held, held->step);
}

void stores__held_leave_all(struct stores__cache *cache) {
    for (struct stores__list *at = cache->held.next; at != &cache->held; at = at->next) {
        struct stores__held *held = STORES__CONTAINER(at, struct stores__held, link);
        if (stores__epoch_node(held->epoch)->run_id[0] != '\0') leave(held);
        unlearn(held, HELD_IDLE);
    }
    stores__nodes_flush(cache);
}

/* The table has another epoch now, or nobody has it: its writers need not wait. */
void stores__held_free(struct stores__epoch *epoch) {
    struct stores__held *held = epoch->held;
    if (held == NULL) return;
    if (!cache_of(held)->closed && stores__epoch_node(epoch)->run_id[0] != '\0') leave(held);
    stores__held_drop_all(held);
    stores__list_remove(&held->link);
    free(held->rows);
    free(held);
    epoch->held = NULL;
}

void stores__held_free_all(struct stores__cache *cache) {
    while (!stores__list_empty(&cache->held)) {
        stores__held_free(STORES__CONTAINER(cache->held.next, struct stores__held, link)->epoch);
    }
}

/* ---- HOLD ------------------------------------------------------------------------------------ */

/* '?' stands for leases of a hash that is gone: they are over by now. */
static void evict_unknown(struct stores__held *held) {
    struct stores__args args = {0};
    struct stores__redis_req *req = calloc(1, sizeof *req);
    if (req == NULL) return;
    req->done = left;
    stores__args_held_key(&args, held->epoch);
    stores__args_str(&args, held->nonce);
    stores__args_str(&args, "0");
    stores__args_str(&args, held->id);
    if (!stores__args_send(&args, cache_of(held), req, &script_evict, 1)) free(req);
}

static void learn(struct stores__held *held, const char *nonce, uint64_t seq) {
    unlearn(held, HELD_LEARNING);
    snprintf(held->nonce, sizeof held->nonce, "%s", nonce);
    held->seq = seq;
    held->learned_at = stores__held_now();
    held->again = true;
}

static void granted(struct stores__held *held, uint64_t unknown_ms) {
    struct stores__held_memory *memory = cache_of(held)->memory;
    held->step = HELD_HOLDING;
    held->granted = true;
    held->behind = 0;
    held->lease_ends = held->sent_at + held->lease_ms * MS;
    held->renew_at = held->sent_at + held->lease_ms * MS / 3;
    memory->leases++;
    memory->refused[0] = '\0';
    uint64_t known_at = held->learned_at + stores__lease_wait(unknown_ms) * MS;
    if (unknown_ms > 0 && stores__held_now() >= known_at) {
        evict_unknown(held);
    } else if (unknown_ms > 0 && known_at < held->renew_at) {
        held->renew_at = known_at; /* writers wait for it */
    }
}

/* The hash has counted a message that was not heard: it is on its way, or nobody could send it. */
static void is_behind(struct stores__held *held, const char *nonce, uint64_t seq) {
    if (held->seq >= seq) {
        held->again = true;
    } else if (held->behind == held->seq + 1) {
        learn(held, nonce, seq);
    } else {
        held->behind = held->seq + 1;
        held->retry_at = stores__held_now() + BEHIND_MS * MS;
    }
}

static void take_hold(struct stores__held *held, const struct redisReply *array) {
    const char *nonce = stores__redis_text(stores__redis_at(array, 0), NULL);
    int64_t seq = stores__redis_integer(stores__redis_at(array, 1), -1);
    int64_t unknown_ms = stores__redis_integer(stores__redis_at(array, 2), -1);
    int64_t acked = stores__redis_integer(stores__redis_at(array, 3), -1);
    if (nonce == NULL || strlen(nonce) != 16 || seq < 0 || unknown_ms < 0) return;
    bool lost = acked >= 0 && (uint64_t)acked < held->sent_said;
    if (lost || (acked < 0 && held->granted)) {
        stores__voice_doubt(stores__epoch_node(held->epoch)); /* it was taken out, maybe for that */
    }
    if (strcmp(nonce, held->sent_nonce) != 0 || (uint64_t)seq < held->sent_seq) {
        learn(held, nonce, (uint64_t)seq);
    } else if ((uint64_t)seq == held->sent_seq) {
        granted(held, (uint64_t)unknown_ms);
    } else {
        is_behind(held, nonce, (uint64_t)seq);
    }
}

static void not_held(struct stores__held *held, const char *error) {
    held->retry_at = stores__held_now() + RETRY_MS * MS;
    if (error != NULL) stores__held_refused(cache_of(held), error);
}

static void hold_answered(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__held *held = STORES__CONTAINER(req, struct stores__held, hold_req);
    struct stores__epoch *epoch = held->epoch;
    size_t len = 0;
    const char *other = stores__redis_text(*reply, &len);
    held->asked = false;
    if (other != NULL) {
        stores__held_forget(epoch);
        held->retry_at = stores__held_now() + BEHIND_MS * MS;
        stores__epoch_seen(epoch, other, len);
    } else if (stores__redis_count(*reply) != 4) {
        not_held(held, stores__redis_error(*reply));
    } else if (held->session == held->sent_session && !stores__held_deaf(held)) {
        take_hold(held, *reply);
    }
    if (held->again) stores__held_go_on(held);
    stores__epoch_let_go(epoch);
}

static void hold(struct stores__held *held) {
    struct stores__cache *cache = cache_of(held);
    struct stores__args args = {0};
    char fresh[17];
    held->again = held->asked;
    if (held->asked || !stores__random_text(fresh, 16)) return;
    if (!stores__held_says(&args, held)) return;
    stores__args_str(&args, fresh);
    stores__args_str(&args, held->known);
    stores__args_longest(&args, held->epoch);
    memcpy(held->sent_nonce, held->nonce, sizeof held->nonce);
    held->sent_seq = held->seq;
    held->sent_said = held->said;
    held->sent_session = held->session;
    held->sent_at = stores__held_now();
    held->hold_req.done = hold_answered;
    held->asked = stores__args_send(&args, cache, &held->hold_req, &script_hold, 2);
    if (!held->asked) return;
    if (held->nonce[0] != '\0') held->registered = true;
    held->hold_req.quiet = true;
    stores__epoch_hold(held->epoch);
    stores__nodes_flush(cache);
}

/* ---- The ear --------------------------------------------------------------------------------- */

static void subscribed(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__held *held = STORES__CONTAINER(req, struct stores__held, ear_req);
    struct stores__epoch *epoch = held->epoch;
    const char *kind = stores__redis_text(stores__redis_at(*reply, 0), NULL);
    held->step = HELD_IDLE;
    if (kind != NULL && strcmp(kind, "subscribe") == 0) {
        held->connects = stores__ear_connects(stores__epoch_node(epoch));
        unlearn(held, held->connects > 0 ? HELD_LEARNING : HELD_IDLE);
        held->retry_at = 0;
        stores__held_go_on(held);
    } else {
        not_held(held, stores__redis_error(*reply));
    }
    stores__epoch_let_go(epoch);
}

static void subscribe(struct stores__held *held) {
    held->retry_at = stores__held_now() + RETRY_MS * MS;
    held->ear_req.done = subscribed;
    if (!stores__ear_join(held->epoch, &held->ear_req)) return;
    held->step = HELD_SUBSCRIBING;
    stores__epoch_hold(held->epoch);
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void drop_named(struct stores__held *held, const char *ids) {
    int64_t id;
    if (*ids == '*') {
        stores__held_drop_all(held);
        return;
    }
    while (*ids != '\0') {
        size_t len = strcspn(ids, " ");
        if (stores_id_parse(ids, len, &id, NULL)) stores__held_drop(held, id);
        ids += len + (ids[len] == ' ');
    }
}

/* A table that nobody reads any more is not held on to: its writers need not wait. A lease goes on
 * as it was; where another one is due that is the ack, too. */
static void ack(struct stores__held *held) {
    uint64_t now = stores__held_now();
    if (now >= held->read_at + held->lease_ms * MS) {
        leave(held);
        stores__nodes_flush(cache_of(held));
    } else if (held->step != HELD_HOLDING || now >= held->renew_at || held->again ||
               !stores__voice_ack(held)) {
        held->renew_at = held->retry_at = 0;
        hold(held);
    }
}

/* "<nonce> <seq> <id> <id>.. .", or "<nonce> <seq> * .". */
static void take_message(struct stores__held *held, const char *text) {
    char *end;
    size_t len = strlen(text);
    held->stir++;
    if (len < 2 || strcmp(text + len - 2, " .") != 0) stores__held_older(cache_of(held));
    if (held->step < HELD_LEARNING || held->nonce[0] == '\0') return;
    bool fits = len > 18 && text[16] == ' ';
    uint64_t seq = fits ? strtoull(text + 17, &end, 10) : 0;
    if (!fits || memcmp(text, held->nonce, 16) != 0 || seq > held->seq + 1 || *end != ' ') {
        unlearn(held, HELD_LEARNING);
        ack(held);
    } else if (seq == held->seq + 1) {
        drop_named(held, end + 1);
        held->seq = seq;
        ack(held);
    }
}

static bool is_of(const struct stores__cache *cache, const struct stores__held *held,
                  const char *channel) {
    size_t prefix = strlen(cache->prefix), tag = strlen(held->epoch->tag);
    return strncmp(channel, cache->prefix, prefix) == 0 &&
           strncmp(channel + prefix, held->epoch->tag, tag) == 0 &&
           strcmp(channel + prefix + tag, STORES__HELD_KEY) == 0;
}

void stores__held_heard(struct stores__cache *cache, const char *channel, const char *text) {
    for (struct stores__list *at = cache->held.next; at != &cache->held; at = at->next) {
        struct stores__held *held = STORES__CONTAINER(at, struct stores__held, link);
        if (!is_of(cache, held, channel)) continue;
        take_message(held, text);
        return;
    }
}

void stores__held_wrote(struct stores__epoch *epoch, const int64_t *id) {
    struct stores__held *held = epoch->held;
    if (held == NULL) return;
    held->stir++;
    if (id == NULL) {
        stores__held_drop_all(held);
    } else {
        stores__held_drop(held, *id);
    }
}

/* ---- Reading --------------------------------------------------------------------------------- */

bool stores__held_may(const struct stores__held *held) {
    const struct stores__epoch *epoch = held->epoch;
    const struct stores__node *node = stores__epoch_node(epoch);
    return !cache_of(held)->closed && !stores__closing(epoch->engine) && node->run_id[0] != '\0' &&
           !node->evicts_any && !stores__node_alone(node) && epoch->bypasses == 0 &&
           stores__past_trusted(cache_of(held));
}

void stores__held_go_on(struct stores__held *held) {
    uint64_t now = stores__held_now();
    if (!stores__held_may(held)) return;
    if (held->step >= HELD_LEARNING && stores__held_deaf(held)) {
        leave(held);
        held->step = HELD_IDLE;
    }
    if (held->lease_ms != stores__held_lease(held) && held->step != HELD_SUBSCRIBING) {
        leave(held); /* the mark tells of longer ones now */
    }
    if (held->lease_ends != 0 && now >= held->lease_ends) {
        unlearn(held, HELD_LEARNING);
        held->retry_at = 0;
    }
    switch (held->step) {
    case HELD_IDLE:
        if (now >= held->retry_at) subscribe(held);
        break;
    case HELD_SUBSCRIBING: break;
    case HELD_LEARNING:
        if (held->again || now >= held->retry_at) hold(held);
        break;
    case HELD_HOLDING:
        if (held->again || (now >= held->renew_at && now >= held->retry_at)) hold(held);
        break;
    }
}

void stores__held_look(struct stores__table *table) {
    struct stores__held *held = held_of(table->epoch);
    if (held == NULL) return;
    memcpy(held->known, table->epoch->texts.believed, sizeof held->known);
    held->read_at = held->looked_at = stores__held_now();
    stores__held_go_on(held);
}
