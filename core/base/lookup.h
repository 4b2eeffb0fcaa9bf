/*
 * lookup.h - one host name as addresses. It is asked for in a thread of its own: the answer of a
 * name server may take half a minute, and nothing waits for it that has no use for it any more, not
 * the close of an engine, nor the end of the process, nor libuv's few threads.
 */
#ifndef STORES_LOOKUP_H
#define STORES_LOOKUP_H

#include <netdb.h>
#include <uv.h>

struct stores__lookup;

/* done(arg, list, why) is called from the loop, once, and the lookup ends with it; list is done's
 * own (uv_freeaddrinfo), or NULL: why says what is wrong. NULL: it cannot be asked for. */
struct stores__lookup *
stores__lookup(uv_loop_t *loop, const char *name,
               void (*done)(void *arg, struct addrinfo *list, const char *why), void *arg);
/* done is not called any more. */
void stores__lookup_forget(struct stores__lookup *lookup);

#endif
