/*
 * breaker.h - a server that hangs fails the calls that it has under way before their own deadlines
 * (stores_config.breaker_ms). Part of an engine, and known to it alone.
 */
#ifndef STORES_BREAKER_H
#define STORES_BREAKER_H

#include "pg/probe.h"

struct stores__breaker {
    struct stores__timer timer; /* looks from time to time while calls are under way */
    struct stores__pg_probe probe;
    uint64_t quiet_ms; /* so long nothing was heard: somebody asks */
    uint64_t asked_behind; /* what was heard last when the probe began */
    uint64_t greeted_at; /* when a probe was answered */
    uint64_t deaf_to; /* what was heard last when one was not answered; UINT64_MAX: it was */
    uint64_t deaf_until; /* whoever waits then asks anew */
};

void stores__breaker_init(stores_engine *engine);
/* A call begins: somebody is to look. */
void stores__breaker_watch(stores_engine *engine);
void stores__breaker_stop(stores_engine *engine);

#endif
