/* json_one.c - see json_one.h. */
#include "base/json_one.h"

enum { OTHER, OPENS, CLOSES, COMMA, QUOTE, ESCAPE, END };

static const unsigned char outside[256] = {
    ['{'] = OPENS, ['['] = OPENS, ['}'] = CLOSES, [']'] = CLOSES,
    [','] = COMMA, ['"'] = QUOTE, ['\0'] = END};
static const unsigned char inside[256] = {['"'] = QUOTE, ['\\'] = ESCAPE, ['\0'] = END};

/* at: behind the opening quote. Gives what is behind the closing one, or NULL. */
static const unsigned char *string_end(const unsigned char *at) {
    for (;;) {
        while (inside[*at] == OTHER) at++;
        if (inside[*at] == QUOTE) return at + 1;
        if (inside[*at] == END || at[1] == '\0') return NULL;
        at += 2;
    }
}

bool stores__json_is_one(const char *text, size_t *len) {
    const unsigned char *at = (const unsigned char *)text;
    size_t depth = 0;
    for (;;) {
        unsigned char what = outside[*at++];
        if (what == OTHER) continue;
        if (what == QUOTE) {
            at = string_end(at);
            if (at == NULL) return false;
        } else if (what == COMMA) {
            if (depth == 0) return false;
        } else if (what == OPENS) {
            depth++;
        } else if (what == CLOSES) {
            if (depth-- == 0) return false;
        } else {
            *len = (size_t)(at - 1 - (const unsigned char *)text);
            return depth == 0;
        }
    }
}
