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
    char shard[24] = ""; /* which of several it is that says so */
    struct line *line = NULL;
    if (engine->shard.count > 0) snprintf(shard, sizeof shard, "shard %d: ", engine->shard.number);
    size_t size = strlen(shard) + strlen(text) + 1;
    if (engine->log_function != LUA_NOREF) line = malloc(sizeof *line + size);
    if (line == NULL) {
        fprintf(stderr, "stores: %s%s\n", shard, text);
        return;
    }
    snprintf(line->text, size, "%s%s", shard, text);
    line->message.function = engine->log_function;
    line->message.push = push;
    line->message.line = line->text;
    stores__message_keep(engine->hub, &line->message);
}
