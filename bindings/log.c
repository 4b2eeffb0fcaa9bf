/* What the core says to a person, handed to the store's log function after the loop has turned. */
#include <stdio.h>

#include "binding.h"

struct message {
    struct stores__list link;
    int function; /* in the registry; LUA_NOREF: there is none */
    char text[];
};

/* The core's hook: inside the loop, where no Lua may run. */
void stores__log_keep(void *arg, const char *text) {
    struct stores__lua_engine *engine = arg;
    size_t len = strlen(text);
    if (engine->log_function == LUA_NOREF) {
        fprintf(stderr, "stores: %s\n", text);
        return;
    }
    struct message *message = malloc(sizeof *message + len + 1);
    if (message == NULL) return;
    memcpy(message->text, text, len + 1);
    message->function = engine->log_function;
    stores__list_append(&engine->hub->messages, &message->link);
}

void stores__log_deliver(lua_State *L, struct stores__hub *hub) {
    for (struct stores__list *at; (at = stores__list_shift(&hub->messages)) != NULL;) {
        struct message *message = STORES__CONTAINER(at, struct message, link);
        lua_rawgeti(L, LUA_REGISTRYINDEX, message->function);
        lua_pushstring(L, message->text);
        free(message);
        /* a log that fails has nobody to tell but the terminal */
        if (lua_pcall(L, 1, 0, 0) != 0) {
            fprintf(stderr, "stores: the log function failed: %s\n",
                    lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
            lua_pop(L, 1);
        }
    }
}

/* An engine goes: its messages go to the terminal, for its function goes with it. */
void stores__log_drop(lua_State *L, struct stores__lua_engine *engine) {
    struct stores__hub *hub = engine->hub;
    struct stores__list *at = hub->messages.next;
    while (at != &hub->messages) {
        struct message *message = STORES__CONTAINER(at, struct message, link);
        at = at->next;
        if (message->function != engine->log_function) continue;
        fprintf(stderr, "stores: %s\n", message->text);
        stores__list_remove(&message->link);
        free(message);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, engine->log_function);
    engine->log_function = LUA_NOREF;
}
