/* change.c - the change of a row, from the arguments of a write. */
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
    } else if (change.kind != STORES_DELETE) {
        change.json = stores__document_check(L, index + 3);
    }
    return change;
}
