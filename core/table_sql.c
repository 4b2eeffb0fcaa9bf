/* The statements of a table that come again and again, as they are prepared. */
#include "sql_text.h"
#include "table.h"

/* Of this type whatever the column's is or was when the statement was prepared: a parameter for an int
 * would never take the ids of the bigint that it became. */
#define ID "$1::bigint"
/* also where the id is GENERATED ALWAYS AS IDENTITY; nothing elsewhere */
#define OVERRIDING " OVERRIDING SYSTEM VALUE "

static const char find_sql[] = "SELECT id, value::text FROM %T WHERE id = " ID;
static const char find_any_sql[] =
    "SELECT id, value::text FROM %T WHERE id = ANY($1::pg_catalog.int8[])";
static const char insert_sql[] = "INSERT INTO %T (id, value)" OVERRIDING "VALUES (" ID
                                 ", $2) RETURNING id, value::text";
static const char insert_new_sql[] = "INSERT INTO %T (id, value)" OVERRIDING "VALUES (" ID ", $2)"
                                     " ON CONFLICT (id) DO NOTHING RETURNING id, value::text";
static const char update_sql[] = "UPDATE %T SET value = $2 WHERE id = " ID
                                 " RETURNING id, value::text";
/* texts, for jsonb takes 1 and 1.0 to be equal */
static const char replace_sql[] = "UPDATE %T SET value = $2 WHERE id = " ID
                                  " AND value::text = $3 RETURNING id, value::text";
static const char delete_sql[] = "DELETE FROM %T WHERE id = " ID " RETURNING id";

/* SETTING: WHERE is evaluated for a row that was there, and only then; VALUES before it, RETURNING
 * after it; the setting is the transaction's own. */
static const char *const upsert_sql[STORES__UPSERTS] = {
    [STORES__UPSERT_XMAX] = "INSERT INTO %T AS t (id, value)" OVERRIDING "VALUES (" ID ", $2)"
                            " ON CONFLICT (id) DO UPDATE SET value = excluded.value"
                            " RETURNING id, value::text, t.xmax = 0",
    [STORES__UPSERT_SETTING] =
        "INSERT INTO %T (id, value)" OVERRIDING "VALUES"
        " (CASE WHEN pg_catalog.set_config('stores.upsert', 'i', true) = 'i'"
        "  THEN " ID " END, $2)"
        " ON CONFLICT (id) DO UPDATE SET value = excluded.value"
        " WHERE pg_catalog.set_config('stores.upsert', 'u', true) = 'u'"
        " RETURNING id, value::text, pg_catalog.current_setting('stores.upsert') = 'i'",
    [STORES__UPSERT_UPDATE_FIRST] =
        "WITH updated AS (UPDATE %T SET value = $2 WHERE id = " ID
        " RETURNING id, value::text AS v),"
        " inserted AS (INSERT INTO %T (id, value)" OVERRIDING "SELECT " ID ", $2"
        "  WHERE NOT EXISTS (SELECT FROM updated) RETURNING id, value::text AS v)"
        " SELECT id, v, false FROM updated UNION ALL SELECT id, v, true FROM inserted"};

static char *make(const struct stores__table *table, const char *sql, bool *ok) {
    char *text = stores__table_expand(table, sql);
    if (text == NULL) *ok = false;
    return text;
}

bool stores__table_sql_make(struct stores__table *table) {
    bool ok = true;
    table->find_sql = make(table, find_sql, &ok);
    table->find_any_sql = make(table, find_any_sql, &ok);
    table->insert_sql = make(table, insert_sql, &ok);
    table->insert_new_sql = make(table, insert_new_sql, &ok);
    table->update_sql = make(table, update_sql, &ok);
    table->replace_sql = make(table, replace_sql, &ok);
    table->delete_sql = make(table, delete_sql, &ok);
    return ok;
}

void stores__table_sql_free(struct stores__table *table) {
    free(table->find_sql);
    free(table->find_any_sql);
    free(table->insert_sql);
    free(table->insert_new_sql);
    free(table->update_sql);
    free(table->replace_sql);
    free(table->delete_sql);
    for (int i = 0; i < STORES__UPSERTS; i++) free(table->upsert_sql[i]);
}

const char *stores__table_upsert_sql(struct stores__table *table) {
    char **text = &table->upsert_sql[table->upsert];
    if (*text == NULL) *text = stores__table_expand(table, upsert_sql[table->upsert]);
    return *text;
}

char *stores__table_expand(const struct stores__table *table, const char *sql) {
    return stores__sql_replace(sql, table->name);
}
