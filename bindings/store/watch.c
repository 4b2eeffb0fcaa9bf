/* watch.c - the statements that PostgreSQL answered, handed to the hook of stores.on after the loop
 * has turned. Engines tell of them only while there is a hook. */
#include "store/engine.h"
#include "hub/messages.h"
#include "values/fields.h"

struct told {
    struct stores__message message;
    double queue, postgres, connection, rows;
    stores_code code;
    char sqlstate[6];
    int shard; /* -1: there are none */
    char sql[];
};

static void push(lua_State *L, const struct stores__message *message) {
    const struct told *told = STORES__CONTAINER(message, const struct told, message);
    lua_createtable(L, 0, 9);
    stores__field_text(L, "sql", told->sql);
    stores__field_number(L, "rows", told->rows);
    stores__field_number(L, "seconds", told->queue + told->postgres);
    stores__field_number(L, "queue", told->queue);
    stores__field_number(L, "postgres", told->postgres);
    stores__field_number(L, "connection", told->connection);
    if (told->shard >= 0) stores__field_number(L, "shard", told->shard);
    if (told->code != STORES_OK) stores__field_text(L, "code", stores_code_name(told->code));
    if (told->sqlstate[0] != '\0') stores__field_text(L, "sqlstate", told->sqlstate);
}

/* Inside the loop, where no Lua may run. */
static void keep(void *arg, const stores_statement *statement) {
    struct stores__lua_engine *engine = arg;
    size_t len = strlen(statement->sql);
    struct told *told = calloc(1, sizeof *told + len + 1);
    if (told == NULL) return;
    told->message.function = engine->hub->statement_function;
    told->message.push = push;
    told->queue = statement->queue;
    told->postgres = statement->postgres;
    told->connection = (double)statement->connection;
    told->rows = (double)statement->rows;
    told->code = statement->code;
    told->shard = engine->shard.count > 0 ? engine->shard.number : -1;
    memcpy(told->sqlstate, statement->sqlstate, sizeof told->sqlstate);
    memcpy(told->sql, statement->sql, len + 1);
    stores__message_keep(engine->hub, &told->message);
}

void stores__watch_engine(struct stores__lua_engine *engine) {
    bool on = engine->hub->statement_function != 0;
    stores_watch_statements(engine->engine, on ? keep : NULL, engine);
}

/* core.watch_statements(hub, fn or nil): fn(event) for each statement of every engine of the hub */
static int watch_statements(lua_State *L) {
    struct stores__hub *hub = stores__hub_check(L, 1);
    if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    /* what was told before goes to whom it was told for */
    stores__messages_tell(L, hub);
    luaL_unref(L, LUA_REGISTRYINDEX, hub->statement_function ? hub->statement_function : LUA_NOREF);
    hub->statement_function = 0; /* the next line may raise */
    hub->statement_function = lua_isnil(L, 2) ? 0 : luaL_ref(L, LUA_REGISTRYINDEX);
    for (struct stores__list *at = hub->engines.next; at != &hub->engines; at = at->next) {
        stores__watch_engine(STORES__CONTAINER(at, struct stores__lua_engine, link));
    }
    return 0;
}

/* Stack: the module's table. */
void stores__watch_register(lua_State *L) {
    lua_pushcfunction(L, watch_statements);
    lua_setfield(L, -2, "watch_statements");
}
