/* result.h - what a call gave, as Lua values: documents (result.c), and rows of any columns
 * (result_rows.c). For hub_result alone, whose upvalues are the codec and its environment. */
#ifndef STORES_RESULT_H
#define STORES_RESULT_H

#include "slot.h"

/* Pushes the rows of a query, and how many it gave or changed. Returns how many values that are. */
int stores__result_rows(lua_State *L, struct stores__slot *slot);
/* Pushes how many rows there were, and an array of each column; NULL is false, so that it has no
 * gap. Returns how many values that are. */
int stores__result_columns(lua_State *L, struct stores__slot *slot);

/* The table on top is an array: STORES__CODEC_ARRAY, or _ROWS. */
void stores__result_mark(lua_State *L, int mark);
/* Raises for a value that is not what it should be; row: the id of its row, or NULL; index: among
 * those that came, from 1, or 0. The slot is freed. The work of a change was done all the same. */
void stores__result_raise(lua_State *L, struct stores__slot *slot, stores_error *error,
                          const char *row, int index);
extern const char stores__result_raw_hint[];

#endif
