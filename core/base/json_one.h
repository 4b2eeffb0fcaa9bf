/*
 * json_one.h - whether a JSON text is one element of an array that it is put into.
 */
#ifndef STORES_JSON_ONE_H
#define STORES_JSON_ONE_H

#include "base/base.h"

/* True: between two commas of an array it is one element, which a server reads as it reads the text
 * alone, or a server refuses the array. It says nothing of what is inside. Then len is that of the
 * text, which ends with a NUL. */
bool stores__json_is_one(const char *text, size_t *len);

#endif
