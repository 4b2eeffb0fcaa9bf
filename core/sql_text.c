#include "sql_text.h"

#include <strings.h>

static bool is_start(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static bool is_inner(unsigned char c) {
    return is_start(c) || (c >= '0' && c <= '9') || c == '$';
}

static bool is_space(unsigned char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

/* Behind the closing quote; a doubled one is a character of the token. */
static const char *quoted_end(const char *at, char quote, bool escapes) {
    for (at++; *at != '\0'; at++) {
        if (escapes && *at == '\\' && at[1] != '\0') {
            at++;
        } else if (*at == quote) {
            if (at[1] != quote) return at + 1;
            at++;
        }
    }
    return at;
}

/* Comments of this form nest. */
static const char *comment_end(const char *at) {
    int depth = 1;
    for (at += 2; *at != '\0' && depth > 0;) {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at += 2;
        } else if (at[0] == '*' && at[1] == '/') {
            depth--;
            at += 2;
        } else {
            at++;
        }
    }
    return at;
}

/* Behind $tag$..$tag$; NULL: no such string begins here. */
static const char *dollars_end(const char *at) {
    const char *tag = at + 1;
    if (is_start((unsigned char)*tag)) {
        while (is_inner((unsigned char)*tag) && *tag != '$') tag++;
    }
    if (*tag != '$') return NULL;
    size_t len = (size_t)(tag + 1 - at);
    for (const char *c = tag + 1; *c != '\0'; c++) {
        if (*c == '$' && strncmp(c, at, len) == 0) return c + len;
    }
    return tag + 1 + strlen(tag + 1);
}

static const char *blank_end(const char *at) {
    while (is_space((unsigned char)*at)) at++;
    return at;
}

enum stores__sql_kind stores__sql_token(const char *at, const char **end) {
    unsigned char c = (unsigned char)*at;
    *end = at + 1;
    if (c == '\0') {
        *end = at;
        return STORES__SQL_END;
    } else if (is_space(c)) {
        *end = blank_end(at);
        return STORES__SQL_BLANK;
    } else if (c == '-' && at[1] == '-') {
        *end = at + strcspn(at, "\r\n");
        return STORES__SQL_BLANK;
    } else if (c == '/' && at[1] == '*') {
        *end = comment_end(at);
        return STORES__SQL_BLANK;
    } else if (c == '\'' || c == '"') {
        *end = quoted_end(at, (char)c, false);
        return c == '"' ? STORES__SQL_NAME : STORES__SQL_STRING;
    } else if ((c == 'e' || c == 'E') && at[1] == '\'') {
        *end = quoted_end(at + 1, '\'', true);
        return STORES__SQL_STRING;
    } else if (c == '$') {
        const char *over = dollars_end(at);
        if (over == NULL) return STORES__SQL_OTHER;
        *end = over;
        return STORES__SQL_STRING;
    } else if (is_start(c)) {
        while (is_inner((unsigned char)**end)) ++*end;
        return STORES__SQL_WORD;
    } else if (c >= '0' && c <= '9') {
        /* the letters that touch a number are its own: the e of 1e5 begins no string */
        while (is_inner((unsigned char)**end) || **end == '.') ++*end;
    }
    return STORES__SQL_OTHER;
}

/* ---- What a text may do ---------------------------------------------------------------------- */

/* Words that a parenthesis may follow: the keywords, and the functions of the engine's own verbs.
 * In the order of strcmp. */
static const char *const tame_words[] = {
    "all",          "and",      "any",    "array",    "as",        "bigint",       "by",
    "case",         "coalesce", "count",  "distinct", "else",      "exists",       "filter",
    "from",         "having",   "in",     "int",      "jsonb_set", "jsonb_typeof", "limit",
    "materialized", "max",      "min",    "not",      "numeric",   "offset",       "on",
    "or",           "over",     "select", "sum",      "then",      "trim_scale",   "union",
    "unnest",       "using",    "values", "when",     "where",
};

enum { WORD_MAX = 16 };

/* The word in lower case; false: it is longer than any that is looked for. */
static bool read_word(const char *at, const char *end, char word[WORD_MAX]) {
    size_t len = (size_t)(end - at);
    if (len >= WORD_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        word[i] = at[i] >= 'A' && at[i] <= 'Z' ? (char)(at[i] - 'A' + 'a') : at[i];
    }
    word[len] = '\0';
    return true;
}

static bool is_tame_word(const char *word) {
    size_t low = 0, high = sizeof tame_words / sizeof *tame_words;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(word, tame_words[middle]);
        if (order == 0) return true;
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return false;
}

/* What reads, and the UPDATE of a modification. */
static bool is_tame_verb(const char *word) {
    static const char *const verbs[] = {"select", "table", "update", "values", "with"};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(word, verbs[i]) == 0) return true;
    }
    return false;
}

bool stores__sql_is_tame(const char *sql) {
    char word[WORD_MAX];
    bool stranger = false; /* the token before is a name that is not known to be harmless */
    bool first = true;
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = stores__sql_token(sql, &end);
        if (kind == STORES__SQL_END) return !first;
        if (kind == STORES__SQL_BLANK || (first && *sql == '(')) continue;
        if (*sql == ';' || (*sql == '(' && stranger)) return false;
        bool known = kind == STORES__SQL_WORD && read_word(sql, end, word);
        if (first && !(known && is_tame_verb(word))) return false;
        if (known && strcmp(word, "into") == 0) return false; /* SELECT .. INTO makes a table */
        stranger = kind == STORES__SQL_NAME ||
                   (kind == STORES__SQL_WORD && !(known && is_tame_word(word)));
        first = false;
    }
}

bool stores__sql_locks_rows(const char *sql) {
    static const char *const locks[] = {"update", "share", "no", "key"};
    char word[WORD_MAX];
    bool first = true, after_for = false;
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = stores__sql_token(sql, &end);
        if (kind == STORES__SQL_END) return false;
        if (kind == STORES__SQL_BLANK || (first && *sql == '(')) continue;
        bool known = kind == STORES__SQL_WORD && read_word(sql, end, word);
        /* what changes rows in a WITH does not begin so */
        if (first && !(known && strcmp(word, "select") == 0)) return false;
        for (size_t i = 0; known && after_for && i < sizeof locks / sizeof *locks; i++) {
            if (strcmp(word, locks[i]) == 0) return true;
        }
        after_for = known && strcmp(word, "for") == 0;
        first = false;
    }
}

bool stores__sql_mentions(const char *sql, const char *word) {
    size_t len = strlen(word);
    for (; *sql != '\0'; sql++) {
        if (strncasecmp(sql, word, len) == 0) return true;
    }
    return false;
}

/* ---- %T -------------------------------------------------------------------------------------- */

char *stores__sql_replace(const char *sql, const char *name) {
    struct stores__buf buf = {0};
    const char *from = sql;
    for (const char *at = sql, *end;; at = end) {
        enum stores__sql_kind kind = stores__sql_token(at, &end);
        if (kind == STORES__SQL_END) break;
        if (*at != '%' || at[1] != 'T' || is_inner((unsigned char)at[2])) continue;
        stores__buf_add(&buf, from, (size_t)(at - from));
        stores__buf_str(&buf, name);
        from = end = at + 2;
    }
    stores__buf_str(&buf, from);
    const char *text = stores__buf_text(&buf);
    char *copy = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    return copy;
}
