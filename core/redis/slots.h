/*
 * slots.h - where the keys of a cluster are: the slot of a hash tag, and what a server says of one
 * that it does not have. Knows no links.
 */
#ifndef STORES_REDIS_SLOTS_H
#define STORES_REDIS_SLOTS_H

#include "base/place.h"

struct redisReply;

enum { STORES__SLOTS = 16384 };

/* The slot of a key: that of what stands between its first braces, where anything does. */
unsigned stores__slot_of(const char *key, size_t len);

/* What an error says of the slot of a command, which was not done. */
enum stores__slot_says {
    STORES__SLOT_FINE, /* it is another error, or none */
    STORES__SLOT_MOVED, /* another node has it */
    STORES__SLOT_ASK, /* it goes to another node, and the keys of the command are there */
    STORES__SLOT_AGAIN, /* it goes to another node, and some of the keys are there */
    STORES__SLOT_DOWN /* no node serves it */
};

struct stores__redirect {
    enum stores__slot_says says;
    unsigned slot; /* of MOVED and ASK, as the place is */
    struct stores__place place; /* its host is "" where it is that of the server which says it */
};

/* One that does not name a slot and a place as it should is no redirect. */
struct stores__redirect stores__redirect_read(const char *error);
/* The same of a reply that may be NULL. */
enum stores__slot_says stores__slot_says(const struct redisReply *reply);

/* A master in an answer to CLUSTER SLOTS, and slots that it has. */
struct stores__slot_range {
    unsigned first, last;
    struct stores__place place; /* as in a redirect */
};

/* The entry with this index. False: it is not one. */
bool stores__slots_read(const struct redisReply *slots, size_t index,
                        struct stores__slot_range *range);

#endif
