#include "sql/effect.h"

#include <strings.h>

#include "sql/text.h"

static bool is_word(const char *at, const char *end, const char *word) {
    return strlen(word) == (size_t)(end - at) && strncasecmp(at, word, (size_t)(end - at)) == 0;
}

static bool is_one_of(const char *at, const char *end, const char *const *words) {
    for (; *words != NULL; words++) {
        if (is_word(at, end, *words)) return true;
    }
    return false;
}

/* ROLLBACK [WORK | TRANSACTION] TO: a savepoint's. */
static bool goes_to_savepoint(const char *at) {
    const char *end;
    for (int i = 0; i < 2; i++, at = end) {
        if (stores__sql_next(&at, &end) != STORES__SQL_WORD) return false;
        if (is_word(at, end, "to")) return true;
    }
    return false;
}

static bool begins_control(const char *at, const char *end) {
    static const char *const always[] = {"abort", "begin", "commit", "end", "start", NULL};
    const char *next = end, *over;
    if (is_one_of(at, end, always)) return true;
    if (is_word(at, end, "rollback")) return !goes_to_savepoint(end);
    if (!is_word(at, end, "prepare")) return false;
    return stores__sql_next(&next, &over) == STORES__SQL_WORD && is_word(next, over, "transaction");
}

/* Whether the first word of one of its statements is such. */
static bool any_begins(const char *sql, bool (*such)(const char *at, const char *end)) {
    bool first = true;
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = stores__sql_next(&sql, &end);
        if (kind == STORES__SQL_END) return false;
        if (kind == STORES__SQL_WORD && first && such(sql, end)) return true;
        first = *sql == ';';
    }
}

bool stores__sql_may_control(const char *sql) {
    return any_begins(sql, begins_control);
}

bool stores__sql_controls(const char *sql) {
    /* BEGIN ATOMIC .. END of a function has statements of its own: its tag tells */
    return !stores__sql_mentions(sql, "atomic") && stores__sql_may_control(sql);
}

/* Up to the end of its statement, outside of parentheses: FROM STDIN, or TO STDOUT. */
static bool begins_client_copy(const char *at, const char *end) {
    int depth = 0;
    bool way = false; /* the token before is FROM or TO */
    if (!is_word(at, end, "copy")) return false;
    for (at = end;; at = end) {
        enum stores__sql_kind kind = stores__sql_next(&at, &end);
        if (kind == STORES__SQL_END || *at == ';') return false;
        bool word = kind == STORES__SQL_WORD && depth == 0;
        if (word && way && (is_word(at, end, "stdin") || is_word(at, end, "stdout"))) return true;
        way = word && (is_word(at, end, "from") || is_word(at, end, "to"));
        depth += (kind == STORES__SQL_OTHER && *at == '(') -
                 (kind == STORES__SQL_OTHER && *at == ')');
    }
}

bool stores__sql_copies(const char *sql) {
    return any_begins(sql, begins_client_copy);
}

static bool begins_set(const char *at, const char *end) {
    return is_word(at, end, "set") || is_word(at, end, "reset");
}

bool stores__sql_sets(const char *sql) {
    return any_begins(sql, begins_set);
}

static bool begins_parts(const char *at, const char *end) {
    static const char *const words[] = {"analyse", "analyze", "call",   "cluster",
                                        "do",      "reindex", "vacuum", NULL};
    return is_one_of(at, end, words);
}

static bool begins_concurrent(const char *at, const char *end) {
    static const char *const words[] = {"alter", "create", "drop", NULL};
    return is_one_of(at, end, words);
}

bool stores__sql_commits_inside(const char *sql) {
    return any_begins(sql, begins_parts) ||
           (stores__sql_mentions(sql, "concurrently") && any_begins(sql, begins_concurrent));
}

bool stores__sql_stands_anywhere(const char *sql) {
    static const char *const words[] = {"delete", "execute", "explain", "insert", "merge", "select",
                                        "table",  "update",  "values",  "with",   NULL};
    const char *end;
    while (stores__sql_next(&sql, &end) != STORES__SQL_END && *sql == '(') sql = end;
    return is_one_of(sql, end, words);
}

bool stores__sql_tag_controls(const char *tag) {
    static const char *const tags[] = {"BEGIN", "COMMIT", "PREPARE TRANSACTION",
                                       "START TRANSACTION", NULL};
    return is_one_of(tag, tag + strlen(tag), tags);
}

/* All others may: a trigger of an event runs for a GRANT as well, and what a cursor WITH HOLD
 * selects runs inside of the commit behind its DECLARE. */
static bool may_write(const char *at, const char *end) {
    static const char *const harmless[] = {
        "",        "ANALYZE", "BEGIN",   "CHECKPOINT", "CLOSE",    "CLUSTER",   "DEALLOCATE",
        "DISCARD", "EXPLAIN", "FETCH",   "LISTEN",     "LOAD",     "LOCK",      "MOVE",
        "NOTIFY",  "PREPARE", "RELEASE", "RESET",      "ROLLBACK", "SAVEPOINT", "SELECT",
        "SET",     "SHOW",    "START",   "UNLISTEN",   "VACUUM",   NULL};
    return !is_one_of(at, end, harmless);
}

bool stores__sql_tag_writes(const char *tag) {
    return may_write(tag, tag + strcspn(tag, " "));
}

/* CREATE [LOCAL | GLOBAL] TEMP: nobody else sees what that makes. */
static bool makes_temporary(const char *sql) {
    static const char *const scopes[] = {"local", "global", NULL};
    static const char *const words[] = {"temp", "temporary", NULL};
    const char *end;
    if (stores__sql_next(&sql, &end) != STORES__SQL_WORD || !is_word(sql, end, "create"))
        return false;
    sql = end;
    if (stores__sql_next(&sql, &end) == STORES__SQL_WORD && is_one_of(sql, end, scopes)) {
        sql = end;
        stores__sql_next(&sql, &end);
    }
    return is_one_of(sql, end, words);
}

bool stores__sql_renames(const char *sql, bool several, const char *tag) {
    static const char *const tags[] = {"ALTER", "CALL", "COMMIT", "CREATE",
                                       "DO",    "DROP", "IMPORT", NULL};
    static const char *const made[] = {"EXPLAIN", "SELECT", NULL}; /* CREATE .. AS, SELECT INTO */
    const char *end = tag + strcspn(tag, " ");
    if (!several && makes_temporary(sql)) return false;
    if (is_one_of(tag, end, tags)) return true;
    if (!is_one_of(tag, end, made)) return false;
    bool may_make = stores__sql_mentions(sql, "create") || stores__sql_mentions(sql, "into");
    return may_make && stores__sql_effect(sql) == STORES__SQL_SESSION;
}

bool stores__sql_may_have_written(const char *sql, bool several, const char *tag) {
    if (stores__sql_tag_writes(tag)) return true;
    if (several) return stores__sql_stands_anywhere(tag) && !stores__sql_only_reads(sql);
    /* CREATE TABLE .. AS */
    return is_word(tag, tag + strcspn(tag, " "), "select") && !stores__sql_stands_anywhere(sql);
}

bool stores__sql_may_write(const char *sql, bool several) {
    return several ? !stores__sql_only_reads(sql) : any_begins(sql, may_write);
}

bool stores__sql_only_reads(const char *sql) {
    static const char *const writes[] = {"call",       "delete", "insert", "merge",
                                         "set_config", "set",    NULL};
    bool locks = false; /* the word before is FOR, or KEY of FOR NO KEY */
    if (stores__sql_effect(sql) == STORES__SQL_SESSION) return false;
    for (const char *end;; sql = end) {
        enum stores__sql_kind kind = stores__sql_next(&sql, &end);
        if (kind == STORES__SQL_END) return true;
        if (kind == STORES__SQL_WORD) {
            if (is_one_of(sql, end, writes)) return false;
            if (is_word(sql, end, "update") && !locks) return false;
        }
        locks = kind == STORES__SQL_WORD && (is_word(sql, end, "for") || is_word(sql, end, "key"));
    }
}
