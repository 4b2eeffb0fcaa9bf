/*
 * decode_string.c - JSON strings as Lua strings: pushed from where they lie, or, where they have
 * escapes, by way of the codec's scratch.
 */
#include "decoder.h"
#include "text.h"

/* d->at: behind "\u". */
static bool read_unicode(struct decoder *d, char *out, size_t *len) {
    const unsigned char *escape = d->at - 2;
    unsigned code, low;
    if (!stores__text_hex4(d->at, d->end, &code)) return fail(d, escape, "invalid escape");
    d->at += 4;
    if (code == 0) return fail(d, escape, "\\u0000, which jsonb has not");
    if (code >= 0xdc00 && code <= 0xdfff) return fail(d, escape, "lone surrogate");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (d->end - d->at < 6 || d->at[0] != '\\' || d->at[1] != 'u' ||
            !stores__text_hex4(d->at + 2, d->end, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(d, escape, "lone surrogate");
        d->at += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *len = stores__text_put_utf8(out, code);
    return true;
}

/* d->at: at a backslash. Writes up to 4 bytes. */
static bool read_escape(struct decoder *d, char *out, size_t *len) {
    if (d->end - d->at < 2) return fail(d, d->end, "unterminated string");
    *len = 1;
    switch (d->at[1]) {
    case '"':
    case '\\':
    case '/': *out = (char)d->at[1]; break;
    case 'b': *out = '\b'; break;
    case 'f': *out = '\f'; break;
    case 'n': *out = '\n'; break;
    case 'r': *out = '\r'; break;
    case 't': *out = '\t'; break;
    case 'u': d->at += 2; return read_unicode(d, out, len);
    default: return fail(d, d->at, "invalid escape");
    }
    d->at += 2;
    return true;
}

bool stores__json_skip_text(struct decoder *d) {
    for (;;) {
        const unsigned char *at = stores__text_skip(d->at, d->end);
        if (at == d->end) return fail(d, at, "unterminated string");
        while (*at >= 0x80) {
            int bytes = stores__text_utf8(at, d->end);
            if (bytes == 0) return fail(d, at, "string that is not UTF-8");
            at += bytes;
            if (at == d->end) return fail(d, at, "unterminated string");
        }
        d->at = at;
        if (*at == '"' || *at == '\\') return true;
        if (*at < 0x20) return fail(d, at, "control character in a string");
    }
}

/* What lies between start and the closing quote, without its escapes. d->at: at the first. */
static bool unescape(struct decoder *d, const unsigned char *start, struct stores__buf *buf) {
    for (;;) {
        size_t plain = (size_t)(d->at - start), len;
        if (!stores__buf_reserve(buf, plain + 4)) return fail(d, d->at, "not enough memory");
        memcpy(buf->data + buf->len, start, plain);
        buf->len += plain;
        if (*d->at == '"') return true;
        if (!read_escape(d, buf->data + buf->len, &len)) return false;
        buf->len += len;
        start = d->at;
        if (!stores__json_skip_text(d)) return false;
    }
}

bool stores__json_read_string(struct decoder *d) {
    lua_State *L = d->L;
    const unsigned char *start = d->at;
    if (!stores__json_skip_text(d)) return false;
    if (*d->at == '"') {
        lua_pushlstring(L, (const char *)start, (size_t)(d->at++ - start));
        return true;
    }
    struct stores__buf *buf = stores__json_take(L, d->codec, d->env);
    bool ok = unescape(d, start, buf);
    if (ok) {
        lua_pushlstring(L, buf->data, buf->len);
        d->at++;
        if (buf != &d->codec->scratch) lua_remove(L, -2);
    }
    stores__json_give(d->codec, buf);
    return ok;
}

/* ---- The id of a row ------------------------------------------------------------------------ */

static bool is_id_of_row(const struct decoder *d) {
    const unsigned char *at = d->at;
    int64_t id;
    uint64_t value = 0;
    if (at == d->end || *at++ != '"') return false;
    /* almost all of them: a number above zero of no more digits than always fit */
    const unsigned char *digit = at;
    for (; digit < d->end && digit - at < 18 && *digit >= '0' && *digit <= '9'; digit++) {
        value = value * 10 + (unsigned)(*digit - '0');
    }
    if (digit > at && *at != '0' && digit < d->end && *digit == '"') return (int64_t)value == d->id;
    const unsigned char *end = memchr(at, '"', (size_t)(d->end - at));
    return end != NULL && stores_id_parse((const char *)at, (size_t)(end - at), &id, NULL) &&
           id == d->id;
}

/* Pushes the string that the row was asked for by, where the text goes on with it. */
static bool push_own(struct decoder *d) {
    size_t len;
    if (d->own == 0) return false;
    const char *own = lua_tolstring(d->L, d->own, &len);
    const unsigned char *at = d->at;
    if ((size_t)(d->end - at) < len + 2 || at[0] != '"' || at[len + 1] != '"') return false;
    if (memcmp(at + 1, own, len) != 0) return false;
    lua_pushvalue(d->L, d->own);
    d->at += len + 2;
    return true;
}

bool stores__json_read_id(struct decoder *d) {
    d->at_id = false;
    d->has_id = push_own(d);
    if (d->has_id) return true;
    d->has_id = is_id_of_row(d);
    return stores__json_read_value(d);
}
