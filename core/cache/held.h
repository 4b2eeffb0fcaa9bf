/*
 * held.h - rows of tables in the memory of this process, which are read there without a round trip,
 * and are never older than a write that was acknowledged (docs/held.md). A holder has a lease; a
 * writer's COMMIT waits until every holder has let go of the row, or its lease has run out.
 *
 *   held_rows.c   the memory: rows by id, bounded in bytes
 *   held_ear.c    the link on which holders hear what writers say, and writers that all have let go
 *                 of their rows; one a node
 *   held_voice.c  the link on which holders ack, and hear nothing; one a node
 *   held_name.c   who a holder is, and how long its leases are
 *   held.c        a table that is held: HOLD, messages, leases
 *   held_read.c   which rows are kept, and what is read
 *   held_wait.c   a writer waits for the holders
 *
 * How far this process is with a table; anything that fails leads back to IDLE, with nothing kept:
 *
 *    IDLE ──read──> SUBSCRIBING ──> LEARNING ──HOLD is granted──> HOLDING ──┐
 *      ^                              ^  another nonce, a gap        |      | message, a third of a
 *      +── ear or link lost, unread ──+──────────────────────────────+ <────┘ lease: HOLD again
 *
 * Leases of processes that share a table may be of different lengths. The id of a holder tells its
 * own; the table's mark in PostgreSQL the longest that there may be, which '?' stands for. Nobody
 * takes a longer one than the mark tells of.
 */
#ifndef STORES_CACHE_HELD_H
#define STORES_CACHE_HELD_H

#include "cache/cache.h"

enum {
    STORES__HELD_BYTES = 64 * 1024 * 1024,
    STORES__WORDS_KEPT = 8,
    STORES__HOLDER_TEXT =
        96 /* <host>:<process>:<16 random characters>, /<ms> where it is no second */
};

/* What a read looks at stands first, for a read of many rows costs what it costs to bring them into
 * the processor: a mark tells that it was used, and its neighbours in the list are left alone. */
struct stores__held_row {
    struct stores__held_row *chain;
    int64_t id;
    uint64_t ends; /* of stores__held_now */
    uint32_t slot; /* no other row has it meanwhile; those that are there are few beside others */
    uint32_t marks[STORES_HELD_MARKS]; /* of who reads it; 0 in a row that is new */
    bool there; /* false: there is no such row */
    bool used; /* since it was put where it is in the list */
    size_t len;
    struct stores__held *held;
    struct stores__list link; /* of the memory, the longest unused first */
    char text[];
};

enum stores__held_step { HELD_IDLE, HELD_SUBSCRIBING, HELD_LEARNING, HELD_HOLDING };

/* A table that this process holds. Owned by its epoch. */
struct stores__held {
    struct stores__list link; /* cache->held */
    struct stores__epoch *epoch;
    enum stores__held_step step;
    char id[STORES__HOLDER_TEXT]; /* never used again after it left */
    uint64_t lease_ms; /* of those that are granted to this id */
    char known[STORES__EPOCH_TEXT]; /* the epoch under which the table's mark was read last */
    char nonce[17];
    uint64_t seq; /* the last message that was heard */
    uint64_t stir; /* counts whatever makes replies that are on their way not to be kept */
    uint64_t connects; /* of the ear, when it was subscribed there */
    bool registered; /* the hash has our field, or may have it */
    bool granted; /* it had that once, when a HOLD was answered */
    bool asked, again; /* a HOLD is on its way; another one is due */
    uint64_t behind; /* the seq that the hash had at the last HOLD, where it was not ours */
    uint64_t sent_at, lease_ends, renew_at, read_at, looked_at, retry_at, learned_at;
    struct stores__redis_req hold_req, ear_req;
    char sent_nonce[17];
    uint64_t sent_seq;
    uint64_t said; /* the last seq that was acked without an answer; 0: none was */
    uint64_t sent_said;
    uint64_t session; /* counts ends of what was learned */
    uint64_t sent_session;
    struct stores__held_row **rows; /* buckets; NULL: none was needed */
    size_t buckets, count;
};

/* "All have acked that much of this hash": one may come before the answer of INTENT does. */
struct stores__word {
    char nonce[17];
    uint64_t seq;
};

/* The memory of an engine, and what is told of it. */
struct stores__held_memory {
    struct stores__list rows;
    size_t bytes, most, count;
    uint64_t lease_ms; /* of this process, where the table's mark allows it */
    uint64_t older_at; /* when a process wrote a held table that waits for a second at most */
    uint32_t *free_slots; /* of rows that went, with room for all */
    uint32_t slots, free_count, slot_room;
    uint64_t looked_at; /* when the sockets were read outside of the loop */
    struct stores__list waiting; /* writers that wait for holders */
    struct stores__word words[STORES__WORDS_KEPT];
    size_t word_at;
    uint64_t hits, misses, leases, evicted, waits, waited_ns;
    uint64_t window_at, window_waited, window_ns, said_at; /* for the log */
    char waited_for[STORES__HOLDER_TEXT * 2]; /* who was taken out last */
    char refused[128]; /* why a table is not held, as the server said it last */
    bool said_refused, said_shorter;
};

/* How long a lease of so many ms is waited for: clocks drift. */
static inline uint64_t stores__lease_wait(uint64_t ms) {
    return ms + ms / 50;
}

/* In ns, of a clock that goes on while the machine sleeps. */
uint64_t stores__held_now(void);

/* ---- held_rows.c ----------------------------------------------------------------------------- */

struct stores__held_row *stores__held_row(const struct stores__held *held, int64_t id);
/* The row is kept, in place of what was; text NULL: there is none. NULL: there is no room. */
struct stores__held_row *stores__held_put(struct stores__held *held, int64_t id, const char *text,
                                          size_t len, uint64_t ends);
void stores__held_drop(struct stores__held *held, int64_t id);
void stores__held_drop_all(struct stores__held *held);

/* ---- held_name.c ----------------------------------------------------------------------------- */

/* How long its leases may be, in ms: as long as those of this process are to be, and the table's
 * mark allows. */
uint64_t stores__held_lease(const struct stores__held *held);
/* It goes by another name from now on. False: there is no entropy. */
bool stores__held_name(struct stores__held *held);
/* Who was built before leases could be of any length has written a held table, and waits for a
 * second. */
void stores__held_older(struct stores__cache *cache);
/* The field of this process in the hash of a table; "": it has none. */
const char *stores__held_own(const struct stores__epoch *epoch);
/* What follows the random characters of this process' epochs of the table. False: not known. */
bool stores__held_owner(const struct stores__epoch *epoch, char out[STORES__OWNER_TEXT]);
/* What HOLD and ACK begin with: their keys, the owner, the holder, and what it has heard in which
 * hash. False: nothing was added, for the owner is not known. */
bool stores__held_says(struct stores__args *args, const struct stores__held *held);

/* ---- held_ear.c ------------------------------------------------------------------------------ */

/* How often it was connected, where it is now, to the server that the node is; 0: it is not. */
uint64_t stores__ear_connects(const struct stores__node *node);
void stores__ear_close(struct stores__node *node);
void stores__ear_read(struct stores__node *node);
/* Subscribes it to the channel of the holders of a table. False: it cannot be now. */
bool stores__ear_join(struct stores__epoch *epoch, struct stores__redis_req *req);
/* The channel on which writers of this process hear that all have acked; "": there is none yet.
 * Who waits all the same sees to it that there is one the next time. */
const char *stores__ear_words(const struct stores__node *node);
void stores__ear_want_words(struct stores__node *node);
void stores__ear_deafen(struct stores__node *node, int deaf);

/* ---- held_voice.c ---------------------------------------------------------------------------- */

/* Acks what was heard; nothing is answered. False: HOLD has to do it. */
bool stores__voice_ack(struct stores__held *held);
/* Such acks do not arrive: the next one is answered. */
void stores__voice_doubt(struct stores__node *node);
void stores__voice_close(struct stores__node *node);
void stores__voice_deafen(struct stores__node *node, int deaf);

/* ---- held.c, held_read.c -------------------------------------------------------------------- */

/* The table is read, and is to be held: goes on with that. */
void stores__held_look(struct stores__table *table);
/* Does what is due. */
void stores__held_go_on(struct stores__held *held);
/* Its ear is not what it was when it subscribed there. */
bool stores__held_deaf(const struct stores__held *held);
/* Rows of the table may be read from the cache, and so from memory. */
bool stores__held_may(const struct stores__held *held);
/* What a reply has to be given back with to be kept; 0: none may be. */
uint64_t stores__held_stir(const struct stores__table *table);
/* A row that an MGET hit gave, which was sent when the stir was that. True: it is kept, and its
 * lifetime is to be asked for. */
bool stores__held_keep(struct stores__table *table, uint64_t stir, int64_t id, const char *text,
                       size_t len);
void stores__held_lives(struct stores__table *table, uint64_t stir, int64_t id, int64_t ms);
/* Where a program reads in a loop of its own, nobody turns the engine's: what the holders are told
 * is heard, and answered, all the same. Not inside of what a socket calls, which it reads. */
void stores__held_listen(struct stores__table *table, uint64_t now);
/* A row, or that there is none; NULL: that is not known here. now: not before the read began. Valid
 * until the engine is called again, or its loop turns. */
struct stores__held_row *stores__held_find(struct stores__table *table, int64_t id, uint64_t now);
/* Why a table is not held, in words of a server; the log has it once. */
void stores__held_refused(struct stores__cache *cache, const char *why);
/* Why its leases are shorter than they are to be. */
void stores__held_shorter(struct stores__cache *cache, const char *why);
/* How long the leases of this process are to be, in whole seconds, as marks tell. */
unsigned stores__held_seconds(const struct stores__cache *cache);
/* A message. */
void stores__held_heard(struct stores__cache *cache, const char *channel, const char *text);
/* INTENT of this process was answered: the row, and what is on its way. id NULL: all rows. */
void stores__held_wrote(struct stores__epoch *epoch, const int64_t *id);
/* Nothing that was learned counts any more. */
void stores__held_forget(struct stores__epoch *epoch);
void stores__held_free(struct stores__epoch *epoch);
void stores__held_free_all(struct stores__cache *cache);
/* The store closes: the leases are given back at once. */
void stores__held_leave_all(struct stores__cache *cache);
bool stores__held_open(struct stores__cache *cache, const stores_config *config);
void stores__held_close(struct stores__cache *cache);
void stores__held_stats(const struct stores__cache *cache,
                        void (*figure)(void *arg, const char *name, double value), void *arg);
/* A commit whose tables are marked took so long, in ns, since its transaction was begun: where the
 * waits take a tenth of that, the log says so. */
void stores__held_timed(struct stores__cache *cache, uint64_t ns);

/* ---- held_wait.c ----------------------------------------------------------------------------- */

enum stores__held_said {
    STORES__HELD_TOLD, /* nobody is to be waited for */
    STORES__HELD_WAITS, /* done(arg, ok) comes from the loop; false: Redis was lost meanwhile */
    STORES__HELD_FAILED /* it is not what tell answers, or there is no memory */
};

/* What INTENT, INVALIDATE or TURN of a marked table answered, just now. */
enum stores__held_said stores__held_wait(struct stores__epoch *epoch,
                                         const struct redisReply *reply,
                                         void (*done)(void *arg, bool ok), void *arg);
/* The same where no hash is there to ask: time tells. longest: lease of the table, in ms. */
enum stores__held_said stores__held_wait_out(struct stores__epoch *epoch, uint64_t longest,
                                             void (*done)(void *arg, bool ok), void *arg);
/* "<nonce> <seq>": all have acked that much, as the last of them said. */
void stores__held_word(struct stores__cache *cache, const char *text);
/* How long a writer that cannot tell Redis has to wait, in ms, so that no lease of this table is
 * left that was granted before Redis was lost. */
uint64_t stores__held_absence(const struct stores__epoch *epoch);

#endif
