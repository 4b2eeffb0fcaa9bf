/*
 * The voice: one link a node, on which this process acks the messages that it heard. Nothing is
 * answered there (CLIENT REPLY SKIP): an answer would wake this process once more for nothing, and
 * cost Redis as much as the ack does. That needs a link of its own, for where a server answers all
 * the same, which its administrator may have it do at any time, nobody could tell what.
 *
 * A script that the server does not know is not run, and nobody hears of it. So the first ack goes
 * by the link on which answers come; and where HOLD tells that acks do not arrive, the next one,
 * and the link is asked whether it lives.
 */
#include "cache/epoch_internal.h"
#include "cache/held.h"
#include "cache/held_scripts.h"

struct stores__voice {
    struct stores__cache *cache;
    struct stores__node *node; /* NULL: it closes */
    struct stores__redis *redis; /* NULL: it is gone */
    struct stores__redis_req req; /* an ack that is answered, while it asks */
    struct stores__epoch *asks; /* whose that is; held. NULL: none is */
    uint64_t asked; /* connects of the link, when that ack was sent */
    uint64_t known; /* the same when the server knew the script; 0: that is not known */
};

static struct stores__redis_script script_ack = {.source = STORES__SCRIPT_ACK};

static void drop(struct stores__voice *voice) {
    if (voice->redis == NULL && voice->asks == NULL) free(voice);
}

static void gone(void *arg) {
    struct stores__voice *voice = arg;
    struct stores__cache *cache = voice->cache;
    voice->redis = NULL;
    drop(voice);
    stores__nodes_link_gone(cache);
}

static struct stores__voice *open_voice(struct stores__node *node) {
    struct stores__voice *voice = calloc(1, sizeof *voice);
    struct stores__redis_hooks hooks = {.arg = voice, .mute = true};
    if (voice == NULL) return NULL;
    voice->cache = node->cache;
    voice->node = node;
    voice->redis = stores__redis_open_same(node->redis, &hooks);
    if (voice->redis == NULL) {
        free(voice);
        return NULL;
    }
    node->cache->links++;
    return voice;
}

void stores__voice_close(struct stores__node *node) {
    struct stores__voice *voice = node->voice;
    if (voice == NULL) return;
    node->voice = NULL;
    voice->node = NULL;
    stores__redis_close(voice->redis, gone, voice);
}

/* It is up, and speaks to the server that the node is; else it is made, for the next time. */
static bool speaks(struct stores__node *node) {
    if (node->cache->closed || node->redis == NULL || node->run_id[0] == '\0') return false;
    if (node->voice != NULL && !stores__redis_same_place(node->voice->redis, node->redis)) {
        stores__voice_close(node);
    }
    if (node->voice == NULL) node->voice = open_voice(node);
    if (node->voice == NULL) return false;
    const struct stores__redis *redis = node->voice->redis;
    return stores__redis_state(redis) == STORES__REDIS_UP &&
           strncmp(stores__redis_run_id(redis), node->run_id, sizeof node->run_id - 1) == 0;
}

static void answered(struct stores__redis_req *req, struct redisReply **reply) {
    struct stores__voice *voice = STORES__CONTAINER(req, struct stores__voice, req);
    struct stores__epoch *epoch = voice->asks;
    voice->asks = NULL;
    if (stores__redis_integer(*reply, -1) >= 0) {
        voice->known = voice->asked;
    } else if (epoch->held != NULL) {
        epoch->held->renew_at = 0; /* a writer waits for it: HOLD makes up for it */
    }
    if (voice->node == NULL) drop(voice);
    stores__epoch_let_go(epoch);
}

bool stores__voice_ack(struct stores__held *held) {
    struct stores__node *node = stores__epoch_node(held->epoch);
    struct stores__args args = {0};
    if (!speaks(node)) return false;
    struct stores__voice *voice = node->voice;
    uint64_t connects = stores__redis_stats(voice->redis)->connects;
    if (voice->known != connects && voice->asks != NULL) return false;
    if (!stores__held_says(&args, held)) return false;
    if (voice->known == connects) {
        if (!stores__args_say(&args, voice->redis, &script_ack, 2)) return false;
        held->said = held->seq;
        return true;
    }
    voice->req.done = answered;
    if (!stores__args_send(&args, node->cache, &voice->req, &script_ack, 2)) return false;
    voice->asks = stores__epoch_hold(held->epoch);
    voice->req.quiet = true;
    voice->asked = connects;
    stores__nodes_flush(node->cache);
    return true;
}

void stores__voice_doubt(struct stores__node *node) {
    if (node->voice == NULL) return;
    node->voice->known = 0;
    stores__redis_doubt(node->voice->redis); /* or the link is what loses them */
}

void stores__voice_deafen(struct stores__node *node, int deaf) {
    if (node->voice != NULL) stores__redis_deafen(node->voice->redis, deaf);
}
