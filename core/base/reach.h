/*
 * reach.h - how far into the WAL something has come, and tokens, which say it as text:
 *
 *     <system identifier>.<timeline, 8 hex digits>.<place, 16 hex digits>
 *
 * behind which two xids stand, of 16 hex digits each, where a standby showed what the primary may
 * still have running (shown.h: below, running); and several of them with commas between, one of
 * each shard. Of two timelines the higher one is the later, also where its places are lower: what
 * stood beyond the place where it began is lost, and nobody has it.
 */
#ifndef STORES_REACH_H
#define STORES_REACH_H

#include "base/base.h"
#include "base/shown.h"

struct stores__reach {
    uint32_t timeline; /* 0: not told */
    uint64_t lsn; /* bytes */
};

bool stores__reach_is_beyond(struct stores__reach one, struct stores__reach other);
/* "16/B374D848" as a number. False: it is none. NULL is none. */
bool stores__lsn_read(const char *text, uint64_t *lsn);

/* Whether it is written as a token. NULL is none. */
bool stores__token_is(const char *text);
/* What it says of a server of this system. False: it is of other servers. */
bool stores__token_read(const char *text, const char *system, struct stores__reach *reach);
/* Adds what was shown of that system, or of any (NULL). */
void stores__token_add_shown(const char *text, const char *system, struct stores__shown *shown);
void stores__token_write(const char *system, struct stores__reach reach, struct stores__shown shown,
                         char token[STORES_TOKEN_SIZE]);

#endif
