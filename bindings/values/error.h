/*
 * error.h - errors of the core as Lua tables, and how they are raised.
 */
#ifndef STORES_BINDINGS_ERROR_H
#define STORES_BINDINGS_ERROR_H

#include "lua_api.h"
#include "stores.h"

/* Pushes the error table of an error, with the metatable that Lua gave. */
void stores__error_push(lua_State *L, const stores_error *error);
/* Raises the error on top of the stack; a host may have it be something else, where nobody is there
 * to catch it (errors.on_leaving in lua/stores/errors.lua). */
int stores__error_throw(lua_State *L);
int stores__raise(lua_State *L, stores_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes what a function raised that has nobody else to tell to the terminal. Pops it. */
void stores__error_print(lua_State *L, const char *who);
/* Stack: the module's table. */
void stores__error_register(lua_State *L);

#endif
