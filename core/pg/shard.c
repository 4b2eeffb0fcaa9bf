/* shard.c - see shard.h. */
#include "pg/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"

const char stores__pg_shard_sql[] = "SELECT shard, count, strategy || coalesce(' ' || version, '')"
                                    ", cluster FROM stores_shard";

static void copy(char *out, const char *text) {
    snprintf(out, STORES__PG_SHARD_NAME, "%s", text ? text : "");
}

void stores__pg_shard_want(struct stores__pg_shard *wanted, const stores_config *config) {
    memset(wanted, 0, sizeof *wanted);
    if (config->shard_count < 1) return;
    wanted->shard = config->shard_id;
    wanted->count = config->shard_count;
    copy(wanted->strategy, config->shard_strategy ? config->shard_strategy : "modulo");
    copy(wanted->cluster, config->shard_cluster);
}

void stores__pg_shard_take(struct stores__pg_shard *found, const struct pg_result *result) {
    memset(found, 0, sizeof *found);
    if (stores__pg_rows(result) < 1 || stores__pg_columns(result) < 4) return;
    const char *shard = stores__pg_value(result, 0, 0, NULL);
    const char *count = stores__pg_value(result, 0, 1, NULL);
    if (shard == NULL || count == NULL) return;
    found->shard = atoi(shard);
    found->count = atoi(count);
    copy(found->strategy, stores__pg_value(result, 0, 2, NULL));
    copy(found->cluster, stores__pg_value(result, 0, 3, NULL));
}

/* "shard 1 of 3, by modulo, of the cluster x". */
static void tell(const struct stores__pg_shard *shard, char *out, size_t size) {
    int len = snprintf(out, size, "shard %d of %d, by %.60s", shard->shard, shard->count,
                       shard->strategy);
    if (shard->cluster[0] == '\0' || len < 0 || (size_t)len >= size) return;
    snprintf(out + len, size - (size_t)len, ", of the cluster %.60s", shard->cluster);
}

bool stores__pg_shard_fits(const struct stores__pg_shard *found,
                           const struct stores__pg_shard *wanted, bool any, const char *database,
                           stores_error *error) {
    char is[224], is_not[224];
    if (found->count == 0 || any) return true;
    tell(found, is, sizeof is);
    if (wanted->count == 0) {
        stores__error_set(error, STORES_SHARD_MISMATCH,
                          "the database %.100s is %s: a store alone would miss the rows of the"
                          " others",
                          database, is);
        strcpy(error->hint, "open all of them with Shards.new; or say any_shard = true, where this"
                            " one is meant");
        return false;
    }
    if (found->shard == wanted->shard && found->count == wanted->count &&
        strcmp(found->strategy, wanted->strategy) == 0 &&
        (wanted->cluster[0] == '\0' || strcmp(found->cluster, wanted->cluster) == 0)) {
        return true;
    }
    tell(wanted, is_not, sizeof is_not);
    stores__error_set(error, STORES_SHARD_MISMATCH,
                      "the database %.100s is %s; the list of the shards has it as %s", database,
                      is, is_not);
    return false;
}
