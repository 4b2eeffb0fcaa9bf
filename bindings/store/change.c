/* change.c - the change of a row, from the arguments of a write; what is asked of etags. */
#include "store/engine.h"
#include "values/args.h"

stores_change stores__change_check(lua_State *L, int index, const struct stores__shard *shard,
                                   stores_params *params) {
    static const char *const kinds[] = {"insert", "update", "upsert", "delete", "modify", NULL};
    stores_change change = STORES_CHANGE_INIT;
    change.kind = (stores_change_kind)luaL_checkoption(L, index, NULL, kinds);
    change.table = stores__table_check(L, index + 1);
    change.id = stores__id_check(L, index + 2, shard);
    if (change.kind == STORES_MODIFY) {
        change.expr = luaL_checkstring(L, index + 7);
        *params = stores__params_check(L, index + 8);
        change.params = params;
    }
    return change;
}

void stores__change_document(lua_State *L, int index, stores_change *change) {
    bool has = change->kind != STORES_MODIFY && change->kind != STORES_DELETE;
    if (has) change->json = stores__document_check(L, index);
}

void stores__change_condition(lua_State *L, int index, stores_change *change,
                              stores_params *params) {
    change->condition = lua_tostring(L, index);
    if (change->condition == NULL || change->kind == STORES_MODIFY) return;
    *params = stores__params_check(L, index - 3);
    change->params = params;
}

void stores__slot_find_etag(lua_State *L, int index, struct stores__slot *slot) {
    size_t len = 0;
    const char *unless = lua_tolstring(L, index + 1, &len);
    slot->etag = lua_toboolean(L, index);
    if (slot->etag && stores_is_etag(unless, len)) memcpy(slot->unless, unless, len + 1);
}

void stores__slot_write_etag(lua_State *L, int index, stores_change *change,
                             struct stores__slot *slot) {
    change->etag = lua_tostring(L, index);
    slot->etag = lua_toboolean(L, index + 1);
    if (!slot->etag) return;
    slot->quiet = change->kind != STORES_MODIFY && !change->want_document;
    change->want_document = true;
}
