/* json_at.c - see json_at.h. */
#include "base/json_at.h"

#include <stdio.h>

struct cursor {
    const char *at, *end;
};

void stores__json_name(struct stores__buf *path, const char *name) {
    static const char escaped[] = "\"\\\b\f\n\r\t", as[] = "\"\\bfnrt";
    stores__buf_add(path, "\"", 1);
    for (; *name != '\0'; name++) {
        const char *found = strchr(escaped, *name);
        char text[8] = {*name, '\0'};
        if (found != NULL) {
            snprintf(text, sizeof text, "\\%c", as[found - escaped]);
        } else if ((unsigned char)*name < ' ') {
            snprintf(text, sizeof text, "\\u%04x", (unsigned)*name);
        }
        stores__buf_str(path, text);
    }
    stores__buf_add(path, "\"", 2);
}

static void skip_space(struct cursor *cursor) {
    while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) != NULL) cursor->at++;
}

/* Whether it stands here, behind spaces; goes over it. */
static bool takes(struct cursor *cursor, char c) {
    skip_space(cursor);
    if (cursor->at == cursor->end || *cursor->at != c) return false;
    cursor->at++;
    return true;
}

/* From its first quote to behind the last one. */
static bool skip_string(struct cursor *cursor) {
    for (cursor->at++; cursor->at < cursor->end; cursor->at++) {
        if (*cursor->at == '"') {
            cursor->at++;
            return true;
        }
        if (*cursor->at == '\\') cursor->at++;
    }
    cursor->at = cursor->end;
    return false;
}

/* A string, a literal, or all between two brackets. */
static bool skip_value(struct cursor *cursor) {
    size_t depth = 0;
    while (cursor->at < cursor->end) {
        char c = *cursor->at;
        if (depth == 0 && strchr(",]} \t\r\n", c) != NULL) return true;
        if (c == '"') {
            if (!skip_string(cursor)) return false;
        } else {
            cursor->at++;
        }
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        if (depth == 0 && (c == '"' || c == '}' || c == ']')) return true;
    }
    return depth == 0;
}

/* Goes to the value of a member of the object that begins here. */
static bool go_to(struct cursor *cursor, const char *name, size_t len) {
    if (!takes(cursor, '{')) return false;
    do {
        skip_space(cursor);
        const char *key = cursor->at;
        if (key == cursor->end || *key != '"' || !skip_string(cursor)) return false;
        bool is_it = (size_t)(cursor->at - key) == len && memcmp(key, name, len) == 0;
        if (!takes(cursor, ':')) return false;
        skip_space(cursor);
        if (is_it) return true;
    } while (skip_value(cursor) && takes(cursor, ','));
    return false;
}

bool stores__json_at(const char *text, size_t len, const char *path, size_t count,
                     const char **value, size_t *value_len) {
    struct cursor cursor = {text, text + len};
    for (; count > 0; count--) {
        size_t name = strlen(path);
        if (!go_to(&cursor, path, name)) return false;
        path += name + 1;
    }
    skip_space(&cursor);
    *value = cursor.at;
    if (!skip_value(&cursor)) return false;
    *value_len = (size_t)(cursor.at - *value);
    return *value_len > 0;
}
