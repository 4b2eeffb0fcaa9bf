/* slots.c - see slots.h. */
#include "redis/slots.h"

#include "redis/reply.h"

enum { PORT_MAX = 65535 };

/* CRC16 of XMODEM, as the specification of Redis' clusters has it. */
static unsigned crc16(const char *text, size_t len) {
    unsigned crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned)(unsigned char)text[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 0x8000 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1 & 0xffff;
        }
    }
    return crc;
}

unsigned stores__slot_of(const char *key, size_t len) {
    const char *open = memchr(key, '{', len);
    const char *close = open ? memchr(open, '}', (size_t)(key + len - open)) : NULL;

    if (close != NULL && close > open + 1) {
        key = open + 1;
        len = (size_t)(close - key);
    }
    return crc16(key, len) % STORES__SLOTS;
}

/* A number of at most max and where it ends; NULL: there is none. */
static const char *number(const char *text, const char *end, unsigned max, unsigned *out) {
    const char *at = text;

    for (*out = 0; at < end && *at >= '0' && *at <= '9'; at++) {
        *out = *out * 10 + (unsigned)(*at - '0');
        if (*out > max) return NULL;
    }
    return at > text ? at : NULL;
}

/* "host:port" as servers write it: the last colon counts, for an address may have some. */
static bool read_place(const char *text, const char *end, struct stores__place *place) {
    const char *colon = end;
    unsigned port;

    while (colon > text && *colon != ':') colon--;
    if (*colon != ':' || number(colon + 1, end, PORT_MAX, &port) != end || port == 0) return false;
    if ((size_t)(colon - text) >= sizeof place->host) return false;
    memcpy(place->host, text, (size_t)(colon - text));
    place->host[colon - text] = '\0';
    place->port = (int)port;
    return true;
}

static bool begins(const char *text, const char *word) {
    return strncmp(text, word, strlen(word)) == 0;
}

struct stores__redirect stores__redirect_read(const char *error) {
    struct stores__redirect to = {.says = STORES__SLOT_FINE};
    const char *at, *end;

    if (begins(error, "TRYAGAIN")) to.says = STORES__SLOT_AGAIN;
    if (begins(error, "CLUSTERDOWN")) to.says = STORES__SLOT_DOWN;
    if (!begins(error, "MOVED ") && !begins(error, "ASK ")) return to;
    at = strchr(error, ' ') + 1;
    end = error + strlen(error);
    at = number(at, end, STORES__SLOTS - 1, &to.slot);
    if (at == NULL || *at != ' ') return to;
    at++;
    if (!read_place(at, at + strcspn(at, " \r\n"), &to.place)) return to;
    to.says = error[0] == 'M' ? STORES__SLOT_MOVED : STORES__SLOT_ASK;
    return to;
}

enum stores__slot_says stores__slot_says(const struct redisReply *reply) {
    const char *error = stores__redis_error(reply);

    return error == NULL ? STORES__SLOT_FINE : stores__redirect_read(error).says;
}

/* The address that goes with a name nobody gave: a node that should announce one, and has none. */
static const char *address_of(const struct redisReply *node) {
    const struct redisReply *more = stores__redis_at(node, 3);

    for (size_t i = 0; i + 1 < stores__redis_count(more); i += 2) {
        const char *key = stores__redis_text(stores__redis_at(more, i), NULL);
        if (key != NULL && strcmp(key, "ip") == 0) {
            return stores__redis_text(stores__redis_at(more, i + 1), NULL);
        }
    }
    return NULL;
}

bool stores__slots_read(const struct redisReply *slots, size_t index,
                        struct stores__slot_range *range) {
    const struct redisReply *entry = stores__redis_at(slots, index);
    const struct redisReply *master = stores__redis_at(entry, 2);
    int64_t first = stores__redis_integer(stores__redis_at(entry, 0), -1);
    int64_t last = stores__redis_integer(stores__redis_at(entry, 1), -1);
    int64_t port = stores__redis_integer(stores__redis_at(master, 1), 0);
    const char *host = stores__redis_text(stores__redis_at(master, 0), NULL);

    if (first < 0 || last < first || last >= STORES__SLOTS) return false;
    if (port <= 0 || port > PORT_MAX) return false;
    if (host != NULL && strcmp(host, "?") == 0) host = address_of(master);
    if (host == NULL) host = "";
    if (strlen(host) >= sizeof range->place.host) return false;
    range->first = (unsigned)first;
    range->last = (unsigned)last;
    strcpy(range->place.host, host);
    range->place.port = (int)port;
    return true;
}
