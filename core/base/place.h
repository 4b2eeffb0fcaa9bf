/* place.h - where a server is, as it is written: "host:port", "host", "[address]:port". */
#ifndef STORES_PLACE_H
#define STORES_PLACE_H

#include "base/base.h"

enum { STORES__HOST_MAX = 256 };

struct stores__place {
    char host[STORES__HOST_MAX]; /* name or address, without brackets */
    int port;
};

/* default_port: where the text names none. False: it is no place, and *place is as it was. */
bool stores__place_read(const char *text, int default_port, struct stores__place *place);
/* The digits of a port, from 1 to 65535. False: they are none. */
bool stores__port_read(const char *digits, int *port);
/* The place as it is written; cut off where size is too small. Gives out. */
const char *stores__place_write(const struct stores__place *place, char *out, size_t size);

static inline bool stores__place_is(const struct stores__place *one,
                                    const struct stores__place *other) {
    return one->port == other->port && strcmp(one->host, other->host) == 0;
}

#endif
