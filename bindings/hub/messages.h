/*
 * messages.h - what the core says in the loop, where no Lua may run, kept until it has turned.
 */
#ifndef STORES_BINDINGS_MESSAGES_H
#define STORES_BINDINGS_MESSAGES_H

#include "hub/hub.h"

/* The first thing in what is kept for a function; malloc'ed. */
struct stores__message {
    struct stores__list link;
    int function; /* in the registry */
    void (*push)(lua_State *L, const struct stores__message *message); /* its one argument */
    const char *line; /* for the terminal, where the function goes before it; NULL: for nobody */
};

void stores__message_keep(struct stores__hub *hub, struct stores__message *message);
/* Calls the functions; never inside a callback of the loop. */
void stores__messages_tell(lua_State *L, struct stores__hub *hub);
/* The function goes: what it was not told yet is for the terminal. */
void stores__messages_print(struct stores__hub *hub, int function);
/* The hub goes: what is left is told to nobody. */
void stores__messages_forget(struct stores__hub *hub);

#endif
