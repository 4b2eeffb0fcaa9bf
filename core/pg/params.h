/*
 * params.h - what a connection to PostgreSQL is opened with: the user's keywords, defaults where
 * nobody said anything, and the hosts, whose names are resolved off the loop before libpq sees
 * them.
 */
#ifndef STORES_PG_PARAMS_H
#define STORES_PG_PARAMS_H

#include <uv.h>

#include "base/err.h"

struct stores__pg_host {
    char *name; /* as given; a directory (unix socket) where it starts with '/' or '@'; may be "" */
    char *port;
    bool local; /* needs no resolving and no encryption */
};

struct stores__pg_params {
    char **keys, **values; /* without host, hostaddr and port; ended by NULL */
    int count;
    struct stores__pg_host *hosts;
    int host_count;
    bool expand_dbname; /* dbname is a text of several keywords, as PQconnectStartParams takes it */
    char *fixed_hostaddr; /* the user's own hostaddr: then nothing is resolved */
    bool verify_by_default; /* nobody said an sslmode, and a host is not local: verify-full */
    bool no_idle_limit; /* among the options */
    uint64_t connect_timeout_ms, statement_timeout_ms;
    /* The statement that a session begins with, in place of start-up options; NULL: none. */
    char *settings;
    uint64_t idle_ms; /* after which the server ends a transaction that nobody attends */
};

/* For how long a transaction that has so much time may idle: longer, so that it is the deadline
 * that ends it; the server's limit is for a client that is gone. */
uint64_t stores__pg_idle_limit(uint64_t timeout_ms);
/* Reads the config's keywords. False: *error says why (never quoting a password). */
bool stores__pg_params_read(struct stores__pg_params *params, const stores_config *config,
                            stores_error *error);
/* Start-up options are refused: their settings are made by a statement from now on. False: there
 * are none, or they are more than settings. */
bool stores__pg_params_unoption(struct stores__pg_params *params);
/* The server ends idle sessions, which a pool is made of: those that are opened from now on do
 * without that. Not before it is known that the server has this setting. False: there are no
 * options that it could go into, or it is there already. */
bool stores__pg_params_no_idle_limit(struct stores__pg_params *params);
void stores__pg_params_free(struct stores__pg_params *params);

/* The keywords of one attempt, with addresses: what PQconnectStartParams takes. */
struct stores__pg_target {
    const char **keys, **values; /* point into params, but for host, hostaddr and port */
    char *host, *hostaddr, *port;
    char *unresolved; /* why a host of several is not among them; "" where all are */
    bool verify_by_default, expand_dbname;
};

struct stores__pg_resolve;

/* Resolves every host. attempt counts those that failed before this one: each begins with the
 * address after, so that one which does not answer does not stand before the others for ever.
 * done(arg, target, why) runs once, from the loop: target is the callee's to free with
 * stores__pg_target_free, or NULL with the reason. NULL: no memory. */
struct stores__pg_resolve *
stores__pg_resolve(uv_loop_t *loop, const struct stores__pg_params *params, int attempt,
                   void (*done)(void *arg, struct stores__pg_target *t, const char *why),
                   void *arg);
/* done will not be called any more; the memory goes when libuv let go of it. */
void stores__pg_resolve_cancel(struct stores__pg_resolve *resolve);
void stores__pg_target_free(struct stores__pg_target *target);

#endif
