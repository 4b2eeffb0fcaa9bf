/*
 * keep.c - a link that nobody uses. Servers, and balancers before them, close such links, or forget
 * them without a word; a PING now and then says that it is still wanted, and finds out that it is
 * dead before a write has to. Its answer is due like any other. It is no round trip of a call.
 */
#include "redis/internal.h"

static void on_pong(struct stores__redis_req *req, struct redisReply **reply) {
    (void)reply; /* a link that does not answer is lost, as with any other request */
    STORES__CONTAINER(req, struct stores__redis, ping)->pings = false;
}

static void send_ping(struct stores__redis *redis) {
    memset(&redis->ping, 0, sizeof redis->ping);
    redis->ping.done = on_pong;
    redis->pings = true;
    redis->count++;
    stores__list_append(&redis->pending, &redis->ping.link);
    stores__redis_out_repeat(&redis->out, redis->ping_chunk);
    stores__redis_expect(redis, 1);
    stores__redis_socket_flush(redis->socket, &redis->out);
}

void stores__redis_keep_alive(struct stores__redis *redis) {
    bool is_idle = redis->due == 0 && redis->unflushed == 0 && redis->out.unsent == 0;
    uint64_t now = stores__redis_now();

    if (redis->state != STORES__REDIS_UP) return;
    if (is_idle && !redis->pings && now >= redis->heard_at + redis->config.keepalive_ms) {
        send_ping(redis);
    } else if (redis->due == 0) {
        stores__redis_rest(redis);
    }
}

void stores__redis_doubt(struct stores__redis *redis) {
    if (redis->state == STORES__REDIS_UP && redis->due == 0 && !redis->pings) send_ping(redis);
}
