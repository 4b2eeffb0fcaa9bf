/* messages.c - messages of the core, told to Lua functions after the loop has turned. */
#include "messages.h"

#include <stdio.h>

void stores__message_keep(struct stores__hub *hub, struct stores__message *message) {
    stores__list_append(&hub->messages, &message->link);
}

/* Stack: the message. In a call of its own, for even its argument may want memory. */
static int tell(lua_State *L) {
    const struct stores__message *message = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, message->function);
    message->push(L, message);
    lua_call(L, 1, 0);
    return 0;
}

void stores__messages_tell(lua_State *L, struct stores__hub *hub) {
    while (!stores__list_empty(&hub->messages)) {
        lua_pushcfunction(L, tell); /* may raise: nothing is taken out before it */
        struct stores__message *message = STORES__CONTAINER(stores__list_shift(&hub->messages),
                                                            struct stores__message, link);
        lua_pushlightuserdata(L, message);
        int failed = lua_pcall(L, 1, 0, 0);
        free(message);
        if (failed) stores__error_print(L, "the log function, or a hook, failed: ");
    }
}

void stores__messages_print(struct stores__hub *hub, int function) {
    struct stores__list *at = hub->messages.next;
    while (at != &hub->messages) {
        struct stores__message *message = STORES__CONTAINER(at, struct stores__message, link);
        at = at->next;
        if (message->function != function) continue;
        if (message->line != NULL) fprintf(stderr, "stores: %s\n", message->line);
        stores__list_remove(&message->link);
        free(message);
    }
}

void stores__messages_forget(struct stores__hub *hub) {
    for (struct stores__list *at; (at = stores__list_shift(&hub->messages)) != NULL;) {
        free(STORES__CONTAINER(at, struct stores__message, link));
    }
}
