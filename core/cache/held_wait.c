/*
 * A writer waits for the holders of a table, before its COMMIT: until all of them have acked its
 * message, in the hash that counted it, or until no lease is left that was granted before. After
 * that those who have not acked are taken out of the hash, so that nobody waits for them again.
 *
 * The last one who acks says so, on a channel of this process. That may be lost, or is not said
 * where the last one left: who has waited for a while asks.
 */
#include <stdio.h>

#include "base/ids.h"
#include "cache/epoch_internal.h"
#include "cache/held.h"
#include "cache/held_scripts.h"

#define MS UINT64_C(1000000)

enum {
    AT_ONCE = 12, /* questions one behind the other, where there is no channel yet */
    WORD_MS = 2, /* in which holders that are awake have acked */
    ASK_MAX_MS = 16
};

struct held_wait {
    struct stores__list link; /* memory->waiting */
    struct stores__redis_req req;
    struct stores__timer timer;
    struct stores__epoch *epoch; /* held */
    void (*done)(void *arg, bool ok);
    void *arg;
    uint64_t began, ends; /* of stores__held_now */
    uint64_t seq;
    unsigned asks;
    bool asking; /* a question is on its way, which hears what a word would say */
    char nonce[17]; /* "": there was no hash to ask */
};

struct eviction {
    struct stores__redis_req req;
    struct stores__epoch *epoch; /* held */
};

static struct stores__redis_script script_acked = {.source = STORES__SCRIPT_ACKED};
static struct stores__redis_script script_evict = {.source = STORES__SCRIPT_EVICT, .follows = true};

static struct stores__held_memory *memory_of(const struct held_wait *wait) {
    return wait->epoch->engine->cache->memory;
}

static void over(struct held_wait *wait, bool ok) {
    struct stores__epoch *epoch = wait->epoch;
    void (*done)(void *arg, bool ok) = wait->done;
    void *arg = wait->arg;
    memory_of(wait)->waited_ns += stores__held_now() - wait->began;
    stores__timer_stop(&epoch->engine->timers, &wait->timer);
    stores__list_remove(&wait->link);
    free(wait);
    done(arg, ok);
    stores__epoch_let_go(epoch);
}

/* ---- Those who have not acked ---------------------------------------------------------------- */

static void evicted(struct stores__redis_req *req, struct redisReply **reply) {
    struct eviction *eviction = STORES__CONTAINER(req, struct eviction, req);
    struct stores__epoch *epoch = eviction->epoch;
    struct stores__held_memory *memory = epoch->engine->cache->memory;
    const char *who = stores__redis_text(*reply, NULL);
    if (who != NULL && who[0] != '\0' && strcmp(who, "?") != 0) {
        memory->evicted++;
        snprintf(memory->waited_for, sizeof memory->waited_for, "%s", who);
        stores__log(epoch->engine,
                    "a write waited for a lease of a process that did not let go of its rows: %s",
                    memory->waited_for);
    }
    free(eviction);
    stores__epoch_let_go(epoch);
}

static void evict(const struct held_wait *wait) {
    struct stores__args args = {0};
    char seq[24];
    struct eviction *eviction = wait->nonce[0] != '\0' ? calloc(1, sizeof *eviction) : NULL;
    if (eviction == NULL) return; /* the next writer waits as long, and takes them out */
    eviction->epoch = stores__epoch_hold(wait->epoch);
    eviction->req.done = evicted;
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)wait->seq);
    stores__args_held_key(&args, wait->epoch);
    stores__args_str(&args, wait->nonce);
    stores__args_str(&args, seq);
    stores__args_str(&args, stores__held_own(wait->epoch));
    if (!stores__args_send(&args, wait->epoch->engine->cache, &eviction->req, &script_evict, 1)) {
        free(eviction);
        stores__epoch_let_go(wait->epoch);
    }
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void ask(struct held_wait *wait);

static void time_out(struct held_wait *wait) {
    evict(wait);
    over(wait, true);
}

static void on_timer(struct stores__timer *timer) {
    struct held_wait *wait = STORES__CONTAINER(timer, struct held_wait, timer);
    if (stores__closing(wait->epoch->engine)) {
        over(wait, false);
    } else if (stores__held_now() >= wait->ends) {
        time_out(wait);
    } else {
        ask(wait);
    }
}

static bool sleep_ms(struct held_wait *wait, uint64_t ms) {
    stores_engine *engine = wait->epoch->engine;
    uint64_t now = stores__held_now(), left = wait->ends > now ? (wait->ends - now) / MS + 1 : 0;
    wait->timer.fire = on_timer;
    /* from now on: the time of the loop is that of its turn's beginning */
    return stores__timer_set(&engine->timers, &wait->timer,
                             uv_hrtime() / MS + (ms < left ? ms : left));
}

/* From now on that is the longest lease of those who are left. */
static void left_with(struct held_wait *wait, uint64_t lease_ms) {
    wait->ends = wait->began + stores__lease_wait(lease_ms) * MS;
}

static void sleep_out(struct held_wait *wait) {
    if (!sleep_ms(wait, UINT64_MAX)) over(wait, false);
}

static void acked(struct stores__redis_req *req, struct redisReply **reply) {
    struct held_wait *wait = STORES__CONTAINER(req, struct held_wait, req);
    int64_t low = stores__redis_integer(*reply, INT64_MIN);
    if (stores__redis_count(*reply) == 2) {
        int64_t lease_ms = stores__redis_integer(stores__redis_at(*reply, 1), 0);
        low = stores__redis_integer(stores__redis_at(*reply, 0), INT64_MIN);
        if (lease_ms > 0) left_with(wait, (uint64_t)lease_ms);
    }
    wait->asking = false;
    if (low >= 0 && (uint64_t)low >= wait->seq) {
        over(wait, true);
    } else if (low == INT64_MIN) {
        over(wait, false);
    } else if (stores__held_now() >= wait->ends) {
        time_out(wait);
    } else if (low == -2) {
        wait->nonce[0] = '\0'; /* another hash: time tells */
        sleep_out(wait);
    } else if (++wait->asks < AT_ONCE) {
        ask(wait);
    } else {
        unsigned doubled = wait->asks - AT_ONCE < 4 ? wait->asks - AT_ONCE : 4;
        uint64_t ms = UINT64_C(1) << doubled;
        if (!sleep_ms(wait, ms < ASK_MAX_MS ? ms : ASK_MAX_MS)) over(wait, false);
    }
}

static void ask(struct held_wait *wait) {
    struct stores__cache *cache = wait->epoch->engine->cache;
    struct stores__args args = {0};
    char owner[STORES__OWNER_TEXT], seq[24];
    if (wait->nonce[0] == '\0') {
        sleep_out(wait);
        return;
    }
    if (cache->closed || !stores__held_owner(wait->epoch, owner)) {
        over(wait, false);
        return;
    }
    stores__args_epoch_key(&args, wait->epoch);
    stores__args_held_key(&args, wait->epoch);
    stores__args_str(&args, owner);
    stores__args_str(&args, wait->nonce);
    stores__args_str(&args, stores__held_own(wait->epoch));
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)wait->seq);
    stores__args_str(&args, seq);
    wait->req.done = acked;
    wait->asking = true;
    if (!stores__args_send(&args, cache, &wait->req, &script_acked, 2)) {
        over(wait, false);
        return;
    }
    stores__nodes_flush(cache);
}

/* ---- What is said ---------------------------------------------------------------------------- */

static bool is_said(const struct stores__word *word, const char *nonce, uint64_t seq) {
    return word->seq >= seq && strcmp(word->nonce, nonce) == 0;
}

static bool was_said(const struct stores__held_memory *memory, const char *nonce, uint64_t seq) {
    for (size_t i = 0; i < STORES__WORDS_KEPT; i++) {
        if (is_said(&memory->words[i], nonce, seq)) return true;
    }
    return false;
}

static struct held_wait *told_by(const struct stores__held_memory *memory,
                                 const struct stores__word *word) {
    for (struct stores__list *at = memory->waiting.next; at != &memory->waiting; at = at->next) {
        struct held_wait *wait = STORES__CONTAINER(at, struct held_wait, link);
        if (!wait->asking && is_said(word, wait->nonce, wait->seq)) return wait;
    }
    return NULL;
}

void stores__held_word(struct stores__cache *cache, const char *text) {
    struct stores__held_memory *memory = cache->memory;
    struct stores__word *word = &memory->words[memory->word_at++ % STORES__WORDS_KEPT];
    struct held_wait *wait;
    if (strlen(text) < 18 || text[16] != ' ') return;
    memcpy(word->nonce, text, 16);
    word->nonce[16] = '\0';
    word->seq = strtoull(text + 17, NULL, 10);
    struct stores__word said = *word;
    while ((wait = told_by(memory, &said)) != NULL) over(wait, true);
}

/* ---- Beginning ------------------------------------------------------------------------------- */

static struct held_wait *wait_new(struct stores__epoch *epoch, uint64_t lease_ms,
                                  void (*done)(void *arg, bool ok), void *arg) {
    struct held_wait *wait = calloc(1, sizeof *wait);
    if (wait == NULL) return NULL;
    wait->epoch = stores__epoch_hold(epoch);
    wait->done = done;
    wait->arg = arg;
    wait->began = stores__held_now();
    left_with(wait, lease_ms);
    stores__list_init(&wait->link);
    stores__list_append(&memory_of(wait)->waiting, &wait->link);
    memory_of(wait)->waits++;
    return wait;
}

/* When it looks for the first time. */
static uint64_t first_look(struct held_wait *wait) {
    struct stores__node *node = stores__epoch_node(wait->epoch);
    if (wait->nonce[0] == '\0') return (wait->ends - wait->began) / MS;
    if (stores__ear_words(node)[0] == '\0') {
        stores__ear_want_words(node);
        return 0;
    }
    wait->asks = AT_ONCE;
    return WORD_MS;
}

/* Nobody is called back before the caller has returned: a first question goes out, or a timer. */
static enum stores__held_said begin(struct held_wait *wait) {
    struct stores__cache *cache = wait->epoch->engine->cache;
    wait->timer.fire = on_timer;
    if (!stores__timer_set(&cache->engine->timers, &wait->timer,
                           uv_hrtime() / MS + first_look(wait))) {
        stores__list_remove(&wait->link);
        stores__epoch_let_go(wait->epoch);
        free(wait);
        return STORES__HELD_FAILED;
    }
    return STORES__HELD_WAITS;
}

enum stores__held_said stores__held_wait(struct stores__epoch *epoch,
                                         const struct redisReply *reply,
                                         void (*done)(void *arg, bool ok), void *arg) {
    const char *nonce = stores__redis_text(stores__redis_at(reply, 0), NULL);
    int64_t seq = stores__redis_integer(stores__redis_at(reply, 1), -1);
    int64_t low = stores__redis_integer(stores__redis_at(reply, 2), INT64_MIN);
    int64_t lease_ms = stores__redis_integer(stores__redis_at(reply, 3), -1);
    if (stores__redis_count(reply) != 4 || nonce == NULL || seq < 0 || low == INT64_MIN ||
        lease_ms < 0) {
        return STORES__HELD_FAILED;
    }
    bool told = low >= seq || was_said(epoch->engine->cache->memory, nonce, (uint64_t)seq);
    if (told) return STORES__HELD_TOLD;
    struct held_wait *wait = wait_new(epoch, (uint64_t)lease_ms, done, arg);
    if (wait == NULL) return STORES__HELD_FAILED;
    wait->seq = (uint64_t)seq;
    snprintf(wait->nonce, sizeof wait->nonce, "%s", nonce);
    return begin(wait);
}

enum stores__held_said stores__held_wait_out(struct stores__epoch *epoch, uint64_t longest,
                                             void (*done)(void *arg, bool ok), void *arg) {
    struct held_wait *wait = wait_new(epoch, longest, done, arg);
    return wait != NULL ? begin(wait) : STORES__HELD_FAILED;
}

uint64_t stores__held_absence(const struct stores__epoch *epoch) {
    const struct stores__node *node = stores__epoch_node(epoch);
    uint64_t now = stores__held_now(), most = stores__lease_wait(epoch->longest);
    if (node->run_id[0] != '\0' || node->down_at == 0) return most;
    uint64_t away = (now - node->down_at) / MS;
    return away < most ? most - away : 0;
}
