/*
 * epoch_internal.h - an epoch as its own files see it. Each calls those above it alone:
 *
 *   nodes.c     the servers, and their links
 *   args.c      the keys, in a command to Redis
 *   life.c      how long a document may stay
 *   belief.c    which epochs there are, and what is believed of each: UNKNOWN, VALID, TURNING
 *   writers.c   who writes to the table of one
 *   past.c      whose they are: where the server is another one, all beliefs are void
 *   owner.c     whose one is, as its text tells
 *   held*.c     rows of it in the memory of this process (held.h)
 *   epoch.c     what is seen in Redis changes a belief, begins a turn, ends one
 *   turn.c      turns that are begun on purpose; those that are owed while Redis cannot be told
 *   turn_all.c  those of all tables
 *   map.c       of a cluster: which node has which of them; those that moved are forgotten
 *   cache.c     the links: when one is up, what is owed is turned
 */
#ifndef STORES_EPOCH_INTERNAL_H
#define STORES_EPOCH_INTERNAL_H

#include "cache/cache.h"
#include "cache/writers.h"

/* How far this process is with the turn of a table. Where it fails, and where the store closes, it
 * is TURN_NONE again: whoever sees B next goes on with it.
 *
 *   nobody's epoch is seen      B is seen, or was set
 *           |                            |
 *           v                            v        some write
 *    TURN_SETTING --> TURN_NONE --> TURN_LISTING <-----------> TURN_WAITING
 *                         ^              |        a while later
 *                         |              | nobody writes any more
 *                         +------- TURN_ENDING
 */
enum stores__turn_step {
    TURN_NONE,
    TURN_SETTING, /* B<new> by compare-and-set is on its way */
    TURN_LISTING, /* who writes? */
    TURN_WAITING, /* until they are over */
    TURN_ENDING /* V<new> by compare-and-set is on its way */
};

/* The epochs that one table has for this process; "": none. */
struct stores__epoch_texts {
    char believed[STORES__EPOCH_TEXT]; /* what state is about */
    char turning[STORES__EPOCH_TEXT]; /* what the turn is about, while step is not TURN_NONE */
    char later[STORES__EPOCH_TEXT + 1]; /* seen, with its state: of a past not known yet */
};

struct stores__epoch {
    struct stores__list link; /* engine->epochs */
    stores_engine *engine;
    uint32_t oid; /* of the table */
    char tag[16]; /* "{oid}", as it stands in keys */
    unsigned slot; /* of them, in a cluster */
    unsigned holders; /* who points here: tables, commits, turns */
    enum stores__epoch_state state;
    uint64_t valid_since; /* engine->facts_serial when this text was seen to be V */
    unsigned bypasses; /* writes that went by Redis: to be turned when it is back */
    unsigned turned_bypasses; /* how many of them the turn on its way covers */
    bool resuming; /* that turn is on its way */
    bool told; /* the Redis that was met last heard of a write of this process */
    unsigned resume_failures; /* in a row */
    struct stores__timer resume; /* parked while nothing is owed: to move it needs no memory */
    struct stores__epoch_texts texts;
    struct stores__held *held; /* cache/held.c; NULL: this process never held rows of it */
    uint64_t longest; /* leases of those who may hold rows of it, in ms, as PostgreSQL's marks have
                       * it, which never go; 0: there is none */
    uint64_t later_serial; /* how often PostgreSQL had told who it is when texts.later was seen */

    enum stores__turn_step step;
    uint64_t since;
    bool failed;
    unsigned polls;
    struct stores__writers writers; /* those who are waited for */
    struct stores__pg_conn *lent; /* what other servers are asked by; NULL: a lane, or nothing */
    struct stores__timer timer;
    struct stores__redis_req redis_req;
    struct stores__pg_wait wait;
    struct stores__pg_req req;
};

/* ---- owner.c --------------------------------------------------------------------------------- */

/* What an epoch's owner is to this process. */
enum stores__owner {
    STORES__OWNER_NONE, /* of another Redis than the table is on now, or of a past that is over */
    STORES__OWNER_LATER, /* of a past that nobody has told us of yet */
    STORES__OWNER_US
};

/* What ends the text of an epoch of this run of Redis and of the present past, which is known;
 * is_short: as stores__epoch_is_short has it. */
void stores__owner_write(const struct stores__cache *cache, const char *run_id, bool is_short,
                         char out[STORES__OWNER_TEXT]);
/* A new epoch: 16 random characters, then whose it is: of this run of Redis, or of no run where
 * that is "". False: the past is not known, or there is no entropy. */
bool stores__epoch_make(const struct stores__cache *cache, const char *run_id,
                        char out[STORES__EPOCH_TEXT]);
/* Of the text of an epoch without its state. */
enum stores__owner stores__owner_of(const struct stores__epoch *epoch, const char *text,
                                    size_t len);
/* Whether it is STORES__OWNER_US. */
bool stores__epoch_is_ours(const struct stores__epoch *epoch, const char *text);

/* ---- epoch.c --------------------------------------------------------------------------------- */

/* This process has no part in the turn any more: it is over, or somebody who sees B ends it. */
void stores__epoch_rest(struct stores__epoch *epoch);

#endif
