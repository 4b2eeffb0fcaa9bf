/*
 * path.h - where in a value something is, for people: .tags[3], ["a b"].c
 */
#ifndef STORES_BINDINGS_JSON_PATH_H
#define STORES_BINDINGS_JSON_PATH_H

#include <stdbool.h>
#include <stddef.h>

/* The deepest chain that a path is made of. */
#define STORES__JSON_PATH_LEVELS 512

/* One table that is being written. The chain of them, by up, is the path. */
struct stores__json_level {
    struct stores__json_level *up;
    const void *table;
    const char *key; /* Lua's own, while the key lies on the stack; NULL: index counts */
    size_t key_len;
    size_t index;
};

struct stores__json_path {
    char text[256];
    size_t len;
    bool cut; /* the end is left out */
};

/* Writes the path to the member that level is at; NULL: the value itself. The keys on it must be
 * UTF-8. */
void stores__json_path(struct stores__json_path *path, const struct stores__json_level *level);

#endif
