/*
 * check.c - whether a text is a document that jsonb takes, and which id it says, without its values
 * in Lua: of millions of lines that are stored as they are nobody looks at more. It says yes to
 * plain cases alone; the decoder has the last word on all others, and says what is wrong.
 */
#include "codec.h"
#include "decimal.h"
#include "text.h"

enum { DEEPEST = 64 };

struct check {
    const unsigned char *end;
    const unsigned char *id, *id_end; /* the last member `id` of the document; NULL: none */
};

typedef const unsigned char *place; /* NULL: it is not plain */

static place skip_space(const struct check *c, place at) {
    while (at < c->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

/* at: behind the backslash. */
static place skip_escape(const struct check *c, place at) {
    unsigned code;
    if (at == c->end) return NULL;
    if (*at != 'u') return strchr("\"\\/bfnrt", *at) != NULL && *at != 0 ? at + 1 : NULL;
    /* half of a pair, and \u0000, are the decoder's */
    if (!stores__text_hex4(at + 1, c->end, &code)) return NULL;
    return code == 0 || (code >= 0xd800 && code <= 0xdfff) ? NULL : at + 5;
}

/* at: behind the opening quote. Gives what is behind the closing one. */
static place skip_string(const struct check *c, place at) {
    while (at != NULL) {
        at = stores__text_skip(at, c->end);
        if (at == c->end) return NULL;
        if (*at == '"') return at + 1;
        if (*at == '\\') {
            at = skip_escape(c, at + 1);
        } else {
            int bytes = *at >= 0x80 ? stores__text_utf8(at, c->end) : 0;
            if (bytes == 0) return NULL;
            at += bytes;
        }
    }
    return NULL;
}

static place skip_number(const struct check *c, place at) {
    struct stores__decimal decimal = stores__json_decimal((const char *)at, (const char *)c->end);
    return decimal.len > 0 && stores__json_decimal_fits(&decimal) ? at + decimal.len : NULL;
}

static place skip_word(const struct check *c, place at, const char *word, size_t len) {
    return (size_t)(c->end - at) >= len && memcmp(at, word, len) == 0 ? at + len : NULL;
}

static place skip_value(struct check *c, place at, int depth);

/* at: behind the name and its quote. Gives what is behind the value. */
static place skip_member(struct check *c, place at, int depth) {
    if (at == NULL) return NULL;
    at = skip_space(c, at);
    if (at == c->end || *at != ':') return NULL;
    return skip_value(c, skip_space(c, at + 1), depth);
}

/* at: at the opening quote of the name. */
static place skip_named(struct check *c, place at, int depth) {
    if (at == c->end || *at != '"') return NULL;
    place name = at + 1, behind = skip_string(c, name);
    if (behind == NULL || depth > 1) return skip_member(c, behind, depth);
    /* with an escape in it any name may be this one */
    if (memchr(name, '\\', (size_t)(behind - name)) != NULL) return NULL;
    place over = skip_member(c, behind, depth);
    if (over != NULL && behind - name == 3 && memcmp(name, "id", 2) == 0) {
        c->id = skip_space(c, skip_space(c, behind) + 1);
        c->id_end = over;
    }
    return over;
}

static place skip_list(struct check *c, place at, int depth) {
    bool is_object = *at == '{';
    unsigned char closing = is_object ? '}' : ']';
    at = skip_space(c, at + 1);
    if (at < c->end && *at == closing) return at + 1;
    for (;;) {
        at = is_object ? skip_named(c, at, depth) : skip_value(c, at, depth);
        if (at == NULL) return NULL;
        at = skip_space(c, at);
        if (at == c->end) return NULL;
        if (*at == closing) return at + 1;
        if (*at != ',') return NULL;
        at = skip_space(c, at + 1);
    }
}

static place skip_value(struct check *c, place at, int depth) {
    if (at == c->end || depth > DEEPEST) return NULL;
    switch (*at) {
    case '"': return skip_string(c, at + 1);
    case '{':
    case '[': return skip_list(c, at, depth + 1);
    case 't': return skip_word(c, at, "true", 4);
    case 'f': return skip_word(c, at, "false", 5);
    case 'n': return skip_word(c, at, "null", 4);
    default: return skip_number(c, at);
    }
}

/* Pushes the id that the document says, where it is one as it stands there. */
static void push_id(lua_State *L, const struct check *c) {
    bool quoted = *c->id == '"';
    const char *text = (const char *)c->id + quoted;
    size_t len = (size_t)(c->id_end - c->id) - 2 * quoted;
    int64_t id;
    if (stores_id_parse(text, len, &id, NULL)) {
        lua_pushlstring(L, text, len);
    } else {
        lua_pushnil(L);
    }
}

/* core.json_check(text) -> its id as text, or true where it has none; nil: ask the decoder */
int stores__json_check_lua(lua_State *L) {
    size_t len;
    struct check c = {.end = NULL};
    place at = (place)luaL_checklstring(L, 1, &len);
    c.end = at + len;
    at = skip_space(&c, at);
    at = at < c.end && *at == '{' ? skip_value(&c, at, 0) : NULL;
    if (at == NULL || skip_space(&c, at) < c.end) {
        lua_pushnil(L);
    } else if (c.id == NULL) {
        lua_pushboolean(L, 1);
    } else {
        push_id(L, &c);
    }
    return 1;
}
