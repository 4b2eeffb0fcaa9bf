/*
 * path.c - where in a value something is, for people: .tags[3], ["a b"].c
 */
#include "path.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEY_SHOWN 48

__attribute__((format(printf, 2, 3))) static void path_add(struct stores__json_path *path,
                                                           const char *format, ...) {
    char piece[KEY_SHOWN * 6 + 16];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (path->cut || path->len + (size_t)len >= sizeof path->text - 4) {
        path->cut = true;
        return;
    }
    memcpy(path->text + path->len, piece, (size_t)len + 1);
    path->len += (size_t)len;
}

static bool is_name(const char *key, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = key[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) return false;
    }
    return len > 0 && len <= KEY_SHOWN;
}

/* Keys on the path were written before, so they are known to be UTF-8 without control NULs. */
static void path_add_key(struct stores__json_path *path, const char *key, size_t len) {
    if (is_name(key, len)) {
        path_add(path, ".%.*s", (int)len, key);
        return;
    }
    char shown[KEY_SHOWN * 6 + 8];
    size_t at = 0, i = 0;
    for (; i < len && i < KEY_SHOWN; i++) {
        unsigned char c = (unsigned char)key[i];
        if (c == '"' || c == '\\') shown[at++] = '\\';
        if (c < 0x20 || c == 0x7f)
            at += (size_t)snprintf(shown + at, 7, "\\u%04x", c);
        else
            shown[at++] = (char)c;
    }
    if (i < len) { /* never half a character */
        while (at > 0 && i > 0 && ((unsigned char)key[i] & 0xc0) == 0x80) at--, i--;
        at += (size_t)snprintf(shown + at, 4, "...");
    }
    path_add(path, "[\"%.*s\"]", (int)at, shown);
}

void stores__json_path(struct stores__json_path *path, const struct stores__json_level *level) {
    path->len = 0;
    path->cut = false;
    path->text[0] = 0;
    if (!level) path_add(path, "the value");
    const struct stores__json_level *chain[STORES__JSON_PATH_LEVELS];
    int count = 0;
    for (; level; level = level->up) chain[count++] = level;
    while (count-- > 0) {
        if (chain[count]->key)
            path_add_key(path, chain[count]->key, chain[count]->key_len);
        else
            path_add(path, "[%zu]", chain[count]->index);
    }
}
