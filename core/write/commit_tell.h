/*
 * commit_tell.h - Redis is told of a transaction before its COMMIT: epochs are turned, intents
 * placed. It knows no more of the transaction than it is given, and gives one verdict.
 *
 *     start ──> all is sent ──> every answer came ──┬──> TOLD
 *                 ^                                 │
 *                 ├── once, where the link was lost ┤
 *                 ├── once, where it is back when   │
 *                 │   leases were waited for        │
 *                 └── under another epoch, when it  ┤
 *                     is known                      ├──> NOT_TOLD
 *                                                     └──> MUST_NOT
 */
#ifndef STORES_COMMIT_TELL_H
#define STORES_COMMIT_TELL_H

#include "write/settle.h"

enum stores__told {
    STORES__TOLD,
    STORES__NOT_TOLD, /* or it is not known whether: nothing may be published */
    STORES__MUST_NOT /* nor may it COMMIT: others hold rows whose leases cannot be waited for */
};

struct stores__tell {
    /* given */
    stores_engine *engine;
    const char *xid; /* of the transaction; "": it has none */
    struct stores__settle *rows;
    struct stores__epoch *const *turns;
    size_t turn_count;
    const struct stores__epoch *first; /* of them, whose first mark this is; NULL */
    enum stores__turn_by by;
    /* May come inside stores__tell_start; the tell may be gone after it. */
    void (*done)(struct stores__tell *tell, enum stores__told verdict);

    /* its own; zeroed at first */
    char entry[STORES__ENTRY_TEXT + 1]; /* of the intents; "": none was placed */
    size_t waiting; /* answers of Redis that are to come */
    bool refused, failed; /* an epoch was another one; Redis could not be told */
    bool full; /* Redis is; it takes the intents all the same */
    bool turns_sent;
    bool held; /* rows of a table of it may be held in memory somewhere */
    unsigned told_again; /* once, after the link was lost */
    bool away, waited; /* a node was not up when leases began to be waited for; Redis was told again
                        * behind that, which is done once */
    uint64_t failures; /* of the link, when Redis was told */
    int tries;
    struct stores__timer timer;
};

void stores__tell_start(struct stores__tell *tell);
void stores__tell_stop(struct stores__tell *tell);

#endif
