/* The statements of a table that come again and again, as they are prepared. */
#include <stdio.h>

#include "base/worker.h"
#include "sql/text.h"
#include "engine/table.h"

/* Of this type whatever the column's is or was when the statement was prepared: a parameter for an
 * int would never take the ids of the bigint that it became. */
#define ID "$1::bigint"
/* also where the id is GENERATED ALWAYS AS IDENTITY; nothing elsewhere */
#define OVERRIDING " OVERRIDING SYSTEM VALUE "

/* Of many rows: each of the array, and what stands at the row's place in another array. The ids are
 * ordered, and each is there once: so many of them are not above it, which is its place, and is
 * found in halves, where array_position compares one after the other. The documents are one jsonb
 * (pg/array.h), whose elements have numbers from 0 on. */
#define IDS "$1::pg_catalog.int8[]"
#define DOCUMENTS "$2::pg_catalog.jsonb"
#define PLACE "pg_catalog.width_bucket(id, " IDS ")"
#define OF_ROW(array) "(" array ")[" PLACE "]"
#define INSERT_SHARED                                                                              \
    "INSERT INTO %T AS t (id, value)" OVERRIDING "SELECT pg_catalog.unnest(" IDS                   \
    "), pg_catalog.jsonb_array_elements(" DOCUMENTS ")"
/* ON CONFLICT looks for each id before it inserts it, and marks the row twice: a half more work. */
#define INSERT_SHARED_BLIND INSERT_SHARED " RETURNING id"
#define INSERT_SHARED_NEW INSERT_SHARED " ON CONFLICT (id) DO NOTHING RETURNING id"
#define UPSERT_SHARED                                                                              \
    INSERT_SHARED " ON CONFLICT (id) DO UPDATE SET value = excluded.value RETURNING id"
#define UPDATE_SHARED                                                                              \
    "UPDATE %T SET value = pg_catalog.jsonb_array_element(" DOCUMENTS ", " PLACE " - 1)"           \
    " WHERE id = ANY(" IDS ")"
#define REPLACE_SHARED                                                                             \
    UPDATE_SHARED " AND value::text = " OF_ROW("$3::pg_catalog.text[]") " RETURNING id"
#define UPDATE_ETAG_SHARED                                                                         \
    UPDATE_SHARED STORES__HAS_ETAG OF_ROW("$3::pg_catalog.text[]") " RETURNING id"

/* REPLACE compares texts, for jsonb takes 1 and 1.0 to be equal. UPSERT_SETTING: WHERE is evaluated
 * for a row that was there, and only then; VALUES before it, RETURNING after it; the setting is the
 * transaction's own. */
static const char *const texts[STORES__TABLE_TEXTS] = {
    [STORES__FIND_SQL] = "SELECT id, value::text FROM %T WHERE id = " ID,
    [STORES__FIND_ANY_SQL] = "SELECT id, value::text FROM %T WHERE id = ANY($1::pg_catalog.int8[])",
    [STORES__LOCK_SQL] = "UPDATE %T SET value = value WHERE id = " ID " RETURNING id, value::text",
    [STORES__SHARE_SQL] = "SELECT id FROM %T WHERE id = " ID " FOR SHARE NOWAIT",
    [STORES__INSERT_SQL] = "INSERT INTO %T (id, value)" OVERRIDING "VALUES (" ID
                           ", $2) RETURNING id, value::text",
    [STORES__INSERT_NEW_SQL] = "INSERT INTO %T (id, value)" OVERRIDING "VALUES (" ID ", $2)"
                               " ON CONFLICT (id) DO NOTHING RETURNING id, value::text",
    [STORES__UPDATE_SQL] = "UPDATE %T SET value = $2 WHERE id = " ID " RETURNING id, value::text",
    [STORES__REPLACE_SQL] = "UPDATE %T SET value = $2 WHERE id = " ID
                            " AND value::text = $3 RETURNING id, value::text",
    [STORES__UPDATE_ETAG_SQL] = "UPDATE %T SET value = $2 WHERE id = " ID STORES__HAS_ETAG
                                "$3 RETURNING id, value::text",
    [STORES__DELETE_SQL] = "DELETE FROM %T WHERE id = " ID " RETURNING id",
    [STORES__DELETE_ETAG_SQL] = "DELETE FROM %T WHERE id = " ID STORES__HAS_ETAG "$2 RETURNING id",
    [STORES__UPSERT_SQL] = "INSERT INTO %T AS t (id, value)" OVERRIDING "VALUES (" ID ", $2)"
                           " ON CONFLICT (id) DO UPDATE SET value = excluded.value"
                           " RETURNING id, value::text, t.xmax = 0",
    [STORES__UPSERT_SETTING_SQL] =
        "INSERT INTO %T (id, value)" OVERRIDING "VALUES"
        " (CASE WHEN pg_catalog.set_config('stores.upsert', 'i', true) = 'i'"
        "  THEN " ID " END, $2)"
        " ON CONFLICT (id) DO UPDATE SET value = excluded.value"
        " WHERE pg_catalog.set_config('stores.upsert', 'u', true) = 'u'"
        " RETURNING id, value::text, pg_catalog.current_setting('stores.upsert') = 'i'",
    [STORES__UPSERT_UPDATE_FIRST_SQL] =
        "WITH updated AS (UPDATE %T SET value = $2 WHERE id = " ID
        " RETURNING id, value::text AS v),"
        " inserted AS (INSERT INTO %T (id, value)" OVERRIDING "SELECT " ID ", $2"
        "  WHERE NOT EXISTS (SELECT FROM updated) RETURNING id, value::text AS v)"
        " SELECT id, v, false FROM updated UNION ALL SELECT id, v, true FROM inserted",
    [STORES__SHARED_INSERT_BLIND_SQL] = INSERT_SHARED_BLIND ", value::text",
    [STORES__SHARED_INSERT_BLIND_QUIET_SQL] = INSERT_SHARED_BLIND,
    [STORES__SHARED_INSERT_SQL] = INSERT_SHARED_NEW ", value::text",
    [STORES__SHARED_INSERT_QUIET_SQL] = INSERT_SHARED_NEW,
    [STORES__SHARED_UPDATE_SQL] = UPDATE_SHARED " RETURNING id, value::text",
    [STORES__SHARED_UPDATE_QUIET_SQL] = UPDATE_SHARED " RETURNING id",
    [STORES__SHARED_REPLACE_SQL] = REPLACE_SHARED ", value::text",
    [STORES__SHARED_REPLACE_QUIET_SQL] = REPLACE_SHARED,
    [STORES__SHARED_UPDATE_ETAG_SQL] = UPDATE_ETAG_SHARED ", value::text",
    [STORES__SHARED_UPDATE_ETAG_QUIET_SQL] = UPDATE_ETAG_SHARED,
    [STORES__SHARED_UPSERT_SQL] = UPSERT_SHARED ", value::text, t.xmax = 0",
    [STORES__SHARED_UPSERT_QUIET_SQL] = UPSERT_SHARED ", NULL, t.xmax = 0",
    [STORES__SHARED_DELETE_SQL] = "DELETE FROM %T WHERE id = ANY(" IDS ") RETURNING id",
    [STORES__SHARED_DELETE_ETAG_SQL] = "DELETE FROM %T WHERE id = ANY(" IDS
                                       ")" STORES__HAS_ETAG OF_ROW(
                                           "$2::pg_catalog.text[]") " RETURNING id"};

enum { SHARED_TEXTS = STORES__TABLE_TEXTS - STORES__FIRST_SHARED_SQL };

/* Where a statement is kept; NULL: no memory. */
static char **place_of(struct stores__table *table, enum stores__table_text text) {
    if (text < STORES__FIRST_SHARED_SQL) return &table->texts[text];
    if (table->shared_texts == NULL) {
        table->shared_texts = calloc(SHARED_TEXTS, sizeof *table->shared_texts);
    }
    if (table->shared_texts == NULL) return NULL;
    return &table->shared_texts[text - STORES__FIRST_SHARED_SQL];
}

const char *stores__table_sql_make(struct stores__table *table, enum stores__table_text text) {
    char **at = place_of(table, text);
    if (at == NULL) return NULL;
    *at = stores__table_expand(table, texts[text]);
    return *at;
}

void stores__table_sql_free(struct stores__table *table) {
    for (int i = 0; i < STORES__FIRST_SHARED_SQL; i++) free(table->texts[i]);
    for (int i = 0; table->shared_texts != NULL && i < SHARED_TEXTS; i++) {
        free(table->shared_texts[i]);
    }
    free(table->shared_texts);
}

/* How the statements of criteria begin, whose rows one server looks up before it puts them in order
 * (lua/stores/sql/pages.lua), and how they begin where several do: the coordinator would be sent
 * all that match. The workers know the values that are asked for, and so which index is worth
 * it. */
static const char whole[] = "WITH hit AS MATERIALIZED (";
static const char spread[] = "WITH hit AS NOT MATERIALIZED (";

char *stores__table_expand(const struct stores__table *table, const char *sql) {
    char *made = stores__sql_replace(sql, table->name);
    char *at = made != NULL && table->spread != STORES__SPREAD_NONE ? strstr(made, whole) : NULL;
    if (at == NULL) return made;
    struct stores__buf buf = {0};
    stores__buf_add(&buf, made, (size_t)(at - made));
    stores__buf_str(&buf, spread);
    stores__buf_str(&buf, at + sizeof whole - 1);
    const char *text = stores__buf_text(&buf);
    char *copy = text != NULL ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    free(made);
    return copy;
}

/* What a statement of the engine fails with where a column or an index is not what it takes it
 * for. */
static bool is_of_shape(const char *sqlstate) {
    static const char *const states[] = {
        "42703", /* there is no such column */
        "42804", "42846", "42883", /* it is of another type */
        "22003", /* its type holds less */
        "42P10" /* no unique index */
    };
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(sqlstate, states[i]) == 0) return true;
    }
    return false;
}

static void name_lacks(const struct stores__table *table, stores_error *error) {
    stores__error_reword(error,
                         "the table %s is none of Stores, which have (id bigint PRIMARY KEY, value"
                         " jsonb): %s; the server says: %s",
                         table->name, table->lacks, error->message);
    snprintf(error->table, sizeof error->table, "%s", table->name);
}

/* The second part of the quoted name, as the catalog has it. */
static void bare_name(const struct stores__table *table, char out[64]) {
    const char *at = table->name;
    size_t len = 0;
    for (bool quoted = false; *at != '\0' && (quoted || *at != '.'); at++) quoted ^= *at == '"';
    for (at += *at == '.' ? 1 : 0; *at != '\0' && len < 63; at++) {
        if (*at == '"' && at[1] != '"') continue; /* of two quotes the second one stays */
        if (*at == '"') at++;
        out[len++] = *at;
    }
    out[len] = '\0';
}

/* The names of the table, and not those of a shard of it: the coordinator says none of either, or
 * it has the shard itself. */
static void name_whole(const struct stores__table *table, stores_error *error) {
    char name[64], told[sizeof error->table];
    bare_name(table, name);
    if (error->table[0] == '\0') {
        strcpy(error->table, name);
        return;
    }
    snprintf(told, sizeof told, "%s", error->table);
    if (!stores__worker_unsuffix(told) || strcmp(told, name) != 0) return;
    const char *suffix = error->table + strlen(told);
    size_t len = strlen(error->constraint), tail = strlen(suffix);
    if (len > tail && strcmp(error->constraint + len - tail, suffix) == 0) {
        error->constraint[len - tail] = '\0';
    }
    strcpy(error->table, name);
}

void stores__table_explain(const struct stores__table *table, const char *sql,
                           stores_error *error) {
    if (error->code == STORES_OK) return;
    stores__error_statement(error, sql);
    if (table != NULL && table->spread != STORES__SPREAD_NONE &&
        strncmp(error->sqlstate, "23", 2) == 0) {
        name_whole(table, error);
    }
    if (table != NULL && table->lacks != NULL && is_of_shape(error->sqlstate)) {
        name_lacks(table, error);
    }
}
