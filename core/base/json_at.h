/*
 * json_at.h - where a member of a JSON text stands. The text is one that a server wrote, and so is
 * right; of what is not, nothing is found.
 */
#ifndef STORES_JSON_AT_H
#define STORES_JSON_AT_H

#include "base/base.h"

/* Adds a name as the servers write it in JSON, with its quotes, and a NUL. */
void stores__json_name(struct stores__buf *path, const char *name);
/* Finds the value at the end of a path of count such names, one behind the other. False: there is
 * none, or something in between is no object. */
bool stores__json_at(const char *text, size_t len, const char *path, size_t count,
                     const char **value, size_t *value_len);

#endif
