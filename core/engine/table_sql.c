/* The statements of a table that come again and again, as they are prepared. */
#include "sql/text.h"
#include "engine/table.h"

/* Of this type whatever the column's is or was when the statement was prepared: a parameter for an
 * int would never take the ids of the bigint that it became. */
#define ID "$1::bigint"
/* also where the id is GENERATED ALWAYS AS IDENTITY; nothing elsewhere */
#define OVERRIDING " OVERRIDING SYSTEM VALUE "

/* REPLACE compares texts, for jsonb takes 1 and 1.0 to be equal. UPSERT_SETTING: WHERE is evaluated
 * for a row that was there, and only then; VALUES before it, RETURNING after it; the setting is the
 * transaction's own. */
static const char *const texts[STORES__TABLE_TEXTS] = {
    [STORES__FIND_SQL] = "SELECT id, value::text FROM %T WHERE id = " ID,
    [STORES__FIND_ANY_SQL] = "SELECT id, value::text FROM %T WHERE id = ANY($1::pg_catalog.int8[])",
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
        " SELECT id, v, false FROM updated UNION ALL SELECT id, v, true FROM inserted"};

const char *stores__table_sql_make(struct stores__table *table, enum stores__table_text text) {
    table->texts[text] = stores__table_expand(table, texts[text]);
    return table->texts[text];
}

void stores__table_sql_free(struct stores__table *table) {
    for (int i = 0; i < STORES__TABLE_TEXTS; i++) free(table->texts[i]);
}

char *stores__table_expand(const struct stores__table *table, const char *sql) {
    return stores__sql_replace(sql, table->name);
}
