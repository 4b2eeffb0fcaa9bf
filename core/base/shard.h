/*
 * shard.h - which shard an id belongs to: its true modulo, so that -1 of 4 shards is on shard 3.
 */
#ifndef STORES_SHARD_H
#define STORES_SHARD_H

#include "base/base.h"

/* 0 to count - 1. count is at least 1. */
int stores__shard_of(int64_t id, int count);

#endif
