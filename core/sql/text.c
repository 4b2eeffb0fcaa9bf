#include "sql/text.h"

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

/* The quote by which a string goes on behind its end at, which is in another line; NULL: it does
 * not. */
static const char *next_part(const char *at) {
    bool same_line = true;
    for (;;) {
        if (is_space((unsigned char)*at)) {
            if (*at == '\n' || *at == '\r') same_line = false;
            at++;
        } else if (at[0] == '-' && at[1] == '-') {
            at += strcspn(at, "\r\n");
        } else {
            return *at == '\'' && !same_line ? at : NULL;
        }
    }
}

/* Behind all parts of a string with escapes, which are so in each of them. */
static const char *escapes_end(const char *at) {
    const char *end;
    do {
        end = quoted_end(at, '\'', true);
    } while ((at = next_part(end)) != NULL);
    return end;
}

static const char *blank_end(const char *at) {
    while (is_space((unsigned char)*at)) at++;
    return at;
}

/* The token at `at`: its kind, and its end. */
static enum stores__sql_kind token(const char *at, const char **end) {
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
        *end = escapes_end(at + 1);
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

/* Words that a parenthesis may follow: keywords, and functions of PostgreSQL that leave nothing
 * behind. */
static const char tame_words[] =
    " abs age all and any array array_agg array_append array_length array_position "
    "array_remove array_to_json array_to_string as avg bigint bool_and bool_or btrim by case "
    "cast ceil char_length coalesce concat concat_ws count cube date_part date_trunc decode "
    "dense_rank distinct div else encode every except exists exp extract filter first_value "
    "floor format from gen_random_uuid generate_series greatest group grouping having in "
    "initcap int intersect interval is isfinite json_agg json_array_elements "
    "json_array_length json_build_array json_build_object json_each json_object_agg "
    "json_typeof jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length "
    "jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path "
    "jsonb_extract_path_text jsonb_insert jsonb_object_agg jsonb_object_keys "
    "jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array "
    "jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_record "
    "jsonb_to_recordset jsonb_typeof key lag last_value lateral lead least left length like "
    "limit ln log lower lpad ltrim make_date make_interval make_timestamp materialized max "
    "md5 min mod not now ntile nullif numeric offset on or order over overlay partition "
    "percentile_cont pg_backend_pid pg_sleep position power random rank regexp_match "
    "regexp_matches regexp_replace regexp_split_to_table repeat replace returning reverse "
    "right rollup round row row_number row_to_json rpad rtrim select set sets sign some "
    "split_part sqrt starts_with string_agg string_to_array strpos substr substring sum "
    "tablesample then timestamp to_char to_date to_json to_jsonb to_number to_timestamp "
    "translate trim trim_scale trunc union unnest upper using values varchar version when "
    "where width_bucket with within ";

enum { WORD_MAX = 32 };

/* The word in lower case between two spaces; false: it is longer than any that is looked for. */
static bool read_word(const char *at, const char *end, char word[WORD_MAX]) {
    size_t len = (size_t)(end - at);
    if (len > WORD_MAX - 3) return false;
    *word++ = ' ';
    for (size_t i = 0; i < len; i++) {
        word[i] = at[i] >= 'A' && at[i] <= 'Z' ? (char)(at[i] - 'A' + 'a') : at[i];
    }
    strcpy(word + len, " ");
    return true;
}

static bool is_among(const char *words, const char *at, const char *end) {
    char word[WORD_MAX];
    return read_word(at, end, word) && strstr(words, word) != NULL;
}

/* The view of settings, whose UPDATE is a SET. */
static bool names_settings(enum stores__sql_kind kind, const char *at, const char *end) {
    if (kind == STORES__SQL_NAME) at++, end--;
    if (kind != STORES__SQL_NAME && kind != STORES__SQL_WORD) return false;
    return end > at && is_among(" pg_settings ", at, end);
}

enum stores__sql_kind stores__sql_next(const char **at, const char **end) {
    enum stores__sql_kind kind;
    while ((kind = token(*at, end)) == STORES__SQL_BLANK) *at = *end;
    return kind;
}

/* The one behind a token. */
static enum stores__sql_kind next_token(const char **at, const char **end) {
    *at = *end;
    return stores__sql_next(at, end);
}

/* ON CONFLICT (..) DO: no function is called. at: the parenthesis behind the two words. */
static bool is_conflict(const char *at) {
    const char *end = at;
    for (int depth = 0;;) {
        if (next_token(&at, &end) == STORES__SQL_END) return false;
        depth += (*at == '(') - (*at == ')');
        if (depth == 0) break;
    }
    return next_token(&at, &end) == STORES__SQL_WORD && is_among(" do ", at, end);
}

/* set_config('a.b', '..' or $n, true): a setting that means nothing to the server, and is gone with
 * the transaction. at: the parenthesis. */
static bool sets_own(const char *at) {
    const char *end = at;
    next_token(&at, &end);
    if (next_token(&at, &end) != STORES__SQL_STRING) return false;
    if (*at != '\'' || memchr(at, '.', (size_t)(end - at)) == NULL) return false;
    next_token(&at, &end);
    if (*at != ',') return false;
    enum stores__sql_kind value = next_token(&at, &end);
    if (*at == '$' && value == STORES__SQL_OTHER) next_token(&at, &end);
    if (value != STORES__SQL_STRING && !(*at >= '0' && *at <= '9')) return false;
    next_token(&at, &end);
    if (*at != ',') return false;
    if (next_token(&at, &end) != STORES__SQL_WORD || !is_among(" true ", at, end)) return false;
    next_token(&at, &end);
    return *at == ')';
}

/* Of a name with a parenthesis behind it. */
static enum stores__sql_effect effect_of_call(const char *name, const char *end, const char *at) {
    if (is_among(tame_words, name, end)) return STORES__SQL_NOTHING;
    bool own = is_among(" set_config ", name, end) && sets_own(at);
    return own ? STORES__SQL_ROWS : STORES__SQL_SESSION;
}

/* SET LOCAL a.b = '..', or TO: the same. end: of the first word. */
static bool sets_own_local(const char *end) {
    const char *at = end;
    if (next_token(&at, &end) != STORES__SQL_WORD || !is_among(" local ", at, end)) return false;
    bool dotted = false;
    enum stores__sql_kind kind = next_token(&at, &end);
    for (; kind == STORES__SQL_WORD; kind = next_token(&at, &end)) {
        next_token(&at, &end);
        if (*at != '.') break;
        dotted = true;
    }
    bool to = *at == '=' || is_among(" to ", at, end);
    if (!dotted || !to || next_token(&at, &end) != STORES__SQL_STRING || *at != '\'') return false;
    kind = next_token(&at, &end);
    if (*at == ';') kind = next_token(&at, &end);
    return kind == STORES__SQL_END;
}

enum stores__sql_effect stores__sql_effect(const char *sql) {
    enum stores__sql_effect effect = STORES__SQL_NOTHING;
    const char *name = NULL, *name_end = NULL; /* the token before, where it may be called */
    bool first = true, over = false, inserts = false, target = false, of_target = false;
    bool settings = false, on = false, on_conflict = false;
    bool dotted = false, of_others = false; /* the name before is in a schema of somebody's */
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = token(sql, &end);
        if (kind == STORES__SQL_END) {
            return first || (settings && effect == STORES__SQL_ROWS) ? STORES__SQL_SESSION : effect;
        }
        if (kind == STORES__SQL_BLANK || (first && *sql == '(')) continue;
        bool word = kind == STORES__SQL_WORD;
        settings = settings || names_settings(kind, sql, end);
        if (over) return STORES__SQL_SESSION; /* another statement */
        if (*sql == '(' && name != NULL && !(on_conflict && is_conflict(sql))) {
            enum stores__sql_effect called = effect_of_call(name, name_end, sql);
            if (called == STORES__SQL_SESSION || of_others) return STORES__SQL_SESSION;
            if (called == STORES__SQL_ROWS) effect = called;
        }
        on_conflict = on && word && is_among(" conflict ", sql, end);
        on = word && is_among(" on ", sql, end);
        over = *sql == ';';
        bool changes = word && is_among(" insert update delete merge ", sql, end);
        if (changes) effect = STORES__SQL_ROWS;
        if (first && word && is_among(" set ", sql, end) && sets_own_local(end)) {
            return STORES__SQL_ROWS;
        }
        if (first && !changes && !(word && is_among(" select table values with ", sql, end))) {
            return STORES__SQL_SESSION;
        }
        bool into = word && is_among(" into ", sql, end);
        if (into && !inserts) return STORES__SQL_SESSION; /* SELECT .. INTO makes a table */
        inserts = changes && is_among(" insert merge ", sql, end);
        /* INSERT INTO a.b (columns): a name behind INTO or a dot of it is not called */
        bool named = word || kind == STORES__SQL_NAME, was_target = target;
        if (*sql == '.') {
            dotted = name == NULL || !is_among(" pg_catalog ", name, name_end);
        } else {
            of_others = dotted;
            dotted = false;
        }
        target = into || (*sql == '.' && of_target);
        of_target = named && was_target;
        name = named && !of_target ? sql : NULL;
        name_end = end;
        first = false;
    }
}

bool stores__sql_locks_rows(const char *sql) {
    bool first = true, after_for = false;
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = token(sql, &end);
        if (kind == STORES__SQL_END) return false;
        if (kind == STORES__SQL_BLANK || (first && *sql == '(')) continue;
        bool word = kind == STORES__SQL_WORD;
        /* what changes rows in a WITH does not begin so */
        if (first && !(word && is_among(" select ", sql, end))) return false;
        if (word && after_for && is_among(" update share no key ", sql, end)) return true;
        after_for = word && is_among(" for ", sql, end);
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
    const char *from = sql, *plain = sql;
    for (const char *at = sql, *end;; at = end) {
        /* where no string, comment or name can begin before it, a % is a token by itself */
        if (at >= plain) plain = at + strcspn(at, "'\"$-/%");
        if (*plain == '\0') break;
        if (*plain == '%') at = plain++;
        enum stores__sql_kind kind = token(at, &end);
        if (kind == STORES__SQL_END) break;
        if (*at != '%' || at[1] != 'T' || is_inner((unsigned char)at[2])) continue;
        stores__buf_add(&buf, from, (size_t)(at - from));
        stores__buf_str(&buf, name);
        from = end = at + 2;
        if (strstr(from, "%T") == NULL) break; /* nothing more to look for */
    }
    stores__buf_str(&buf, from);
    const char *text = stores__buf_text(&buf);
    char *copy = text ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    return copy;
}
