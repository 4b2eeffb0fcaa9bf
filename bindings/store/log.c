/* log.c - what the core says to a person, for the store's log function. */
#include <stdio.h>

#include "store/engine.h"
#include "hub/messages.h"

struct line {
    struct stores__message message;
    char text[];
};

static void push(lua_State *L, const struct stores__message *message) {
    lua_pushstring(L, message->line);
}

void stores__log_keep(void *arg, const char *text) {
    struct stores__lua_engine *engine = arg;
    size_t len = strlen(text);
    struct line *line = NULL;
    if (engine->log_function != LUA_NOREF) line = malloc(sizeof *line + len + 1);
    if (line == NULL) {
        fprintf(stderr, "stores: %s\n", text);
        return;
    }
    memcpy(line->text, text, len + 1);
    line->message.function = engine->log_function;
    line->message.push = push;
    line->message.line = line->text;
    stores__message_keep(engine->hub, &line->message);
}
