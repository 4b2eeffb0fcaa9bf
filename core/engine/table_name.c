/* Names of tables as callers write them, read the way PostgreSQL reads an identifier (its manual,
 * section 4.1.1). */
#include "engine/table.h"

enum { NAME_BYTES_MAX = 63 };

static bool is_start(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_inner(unsigned char c) {
    return is_start(c) || (c >= '0' && c <= '9') || c == '$';
}

static bool refuse(stores_error *error, const char *why) {
    /* the text of the name is not repeated: it may be somebody's input */
    stores__error_set(error, STORES_INVALID_TABLE, "a table name %s", why);
    return false;
}

/* One identifier, from *at; the characters that count go to word. */
static bool parse_identifier(const char **at, char *word, size_t *len, stores_error *error) {
    const char *c = *at;
    *len = 0;
    if (*c == '"') {
        for (c++; *c != '\0' && (*c != '"' || c[1] == '"'); c++) {
            if (*c == '"') c++;
            if (*len >= NAME_BYTES_MAX) return refuse(error, "has at most 63 bytes");
            word[(*len)++] = *c;
        }
        if (*c != '"') return refuse(error, "lacks its closing quote");
        if (*len == 0) return refuse(error, "is empty");
        *at = c + 1;
        return true;
    }
    if (*c == '\0' || *c == '.') return refuse(error, "is empty");
    if (!is_start((unsigned char)*c)) {
        return refuse(error, "starts with a letter or _, or stands in double quotes");
    }
    for (; is_inner((unsigned char)*c); c++) {
        if (*len >= NAME_BYTES_MAX) return refuse(error, "has at most 63 bytes");
        word[(*len)++] = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    *at = c;
    return true;
}

static char *quote(char *out, const char *word, size_t len) {
    *out++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (word[i] == '"') *out++ = '"';
        *out++ = word[i];
    }
    *out++ = '"';
    return out;
}

bool stores__table_parse(const char *name, char *quoted, size_t room, stores_error *error) {
    char word[NAME_BYTES_MAX];
    size_t len;
    char *out = quoted;
    assert(room >= STORES__TABLE_NAME_MAX);
    (void)room;
    for (int part = 0;; part++) {
        if (!parse_identifier(&name, word, &len, error)) return false;
        out = quote(out, word, len);
        if (*name != '.') break;
        if (part == 1) return refuse(error, "has two parts at most: a schema and a table");
        *out++ = '.';
        name++;
    }
    *out = '\0';
    if (*name != '\0') {
        return refuse(error, "is letters, digits, _ and $, or stands in double quotes");
    }
    return true;
}
