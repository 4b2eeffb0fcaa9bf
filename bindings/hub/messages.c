/* What the core says to a person, handed to the store's log function after the loop has turned. */
#include <stdio.h>

#include "binding.h"

struct line {
    struct stores__message message;
    char text[];
};

static void push(lua_State *L, const struct stores__message *message) {
    lua_pushstring(L, STORES__CONTAINER(message, const struct line, message)->text);
}

/* The core's hook: inside the loop, where no Lua may run. */
void stores__log_keep(void *arg, const char *text) {
    struct stores__lua_engine *engine = arg;
    size_t len = strlen(text);
    if (engine->log_function == LUA_NOREF) {
        fprintf(stderr, "stores: %s\n", text);
        return;
    }
    struct line *line = malloc(sizeof *line + len + 1);
    if (line == NULL) return;
    memcpy(line->text, text, len + 1);
    line->message.function = engine->log_function;
    line->message.push = push;
    stores__list_append(&engine->hub->messages, &line->message.link);
}

void stores__log_deliver(lua_State *L, struct stores__hub *hub) {
    for (struct stores__list *at; (at = stores__list_shift(&hub->messages)) != NULL;) {
        struct stores__message *message = STORES__CONTAINER(at, struct stores__message, link);
        lua_rawgeti(L, LUA_REGISTRYINDEX, message->function);
        message->push(L, message);
        free(message);
        /* one that fails has nobody to tell but the terminal */
        if (lua_pcall(L, 1, 0, 0) != 0) {
            fprintf(stderr, "stores: the log function, or a hook, failed: %s\n",
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
        struct line *line = STORES__CONTAINER(at, struct line, message.link);
        at = at->next;
        if (line->message.function != engine->log_function) continue;
        fprintf(stderr, "stores: %s\n", line->text);
        stores__list_remove(&line->message.link);
        free(line);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, engine->log_function);
    engine->log_function = LUA_NOREF;
}

void stores__log_forget(struct stores__hub *hub) {
    for (struct stores__list *at; (at = stores__list_shift(&hub->messages)) != NULL;) {
        free(STORES__CONTAINER(at, struct stores__message, link));
    }
}
