/* shard.c - see shard.h. */
#include "pg/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"

static void copy(char *out, const char *text) {
    snprintf(out, STORES__PG_SHARD_NAME, "%s", text ? text : "");
}

void stores__pg_shard_want(struct stores__pg_shard_place *place, const stores_config *config) {
    struct stores__pg_shard *wanted = &place->wanted;
    memset(place, 0, sizeof *place);
    place->any = config->any_shard;
    if (config->shard_count < 1) return;
    wanted->shard = config->shard_id;
    wanted->count = config->shard_count;
    copy(wanted->strategy, config->shard_strategy ? config->shard_strategy : "modulo");
    copy(wanted->cluster, config->shard_cluster);
    place->names_cluster = wanted->cluster[0] != '\0';
}

void stores__pg_shard_expect(struct stores__pg_shard_place *place, const char *cluster) {
    if (place->names_cluster || place->wanted.count < 1) return;
    if (strlen(cluster) < STORES__PG_SHARD_NAME) copy(place->wanted.cluster, cluster);
}

static bool is_elsewhere(const struct stores__pg_shard *found) {
    return found->mark[0] == 'e';
}

/* The n-th word of the mark, behind as many blanks; the name is the last one. */
static const char *word_of(const struct stores__pg_shard *found, int n) {
    const char *word = found->mark;
    while (n-- > 0 && word != NULL) {
        word = strchr(word, ' ');
        if (word != NULL) word++;
    }
    return word ? word : "";
}

static const char *table_of(const struct stores__pg_shard *found) {
    return word_of(found, 2);
}

bool stores__pg_shard_mark(struct stores__pg_shard *found, const char *mark) {
    memset(found, 0, sizeof *found);
    snprintf(found->mark, sizeof found->mark, "%s", mark ? mark : "");
    return found->mark[0] != '\0';
}

void stores__pg_shard_read(const struct stores__pg_shard *found, struct stores__buf *sql) {
    stores__buf_fmt(sql,
                    "SELECT s.shard, s.count, s.strategy || coalesce(' ' || s.version, ''),"
                    " s.cluster, s::text, pg_catalog.to_jsonb(s) ->> 'state',"
                    " pg_catalog.to_jsonb(s) ->> 'why' FROM %s s LIMIT 1",
                    table_of(found));
}

void stores__pg_shard_ask(const struct stores__pg_shard *found, struct stores__buf *sql) {
    stores__buf_str(sql, "SELECT (SELECT pg_catalog.sum(c.oid::pg_catalog.int8)"
                         "::pg_catalog.text" STORES__PG_SHARD_TABLES ")");
    if (found->mark[0] == '\0') return;
    stores__buf_fmt(sql, ", (SELECT s::text FROM %s s LIMIT 1)", table_of(found));
}

static uint64_t hash_of(const char *row, size_t len) {
    return row != NULL ? stores__hash(row, len) : 0;
}

bool stores__pg_shard_holds(const struct stores__pg_shard *found, const struct pg_result *result) {
    const char *oids = stores__pg_rows(result) == 1 ? stores__pg_value(result, 0, 0, NULL) : NULL;
    const char *known = word_of(found, 1);
    size_t len = 0;
    if (oids == NULL || found->mark[0] == '\0') return oids == NULL && found->mark[0] == '\0';
    if (strncmp(oids, known, strlen(oids)) != 0 || known[strlen(oids)] != ' ') return false;
    const char *row = stores__pg_columns(result) == 2 ? stores__pg_value(result, 0, 1, &len) : NULL;
    return hash_of(row, len) == found->said;
}

/* The table has these columns from the first copy on. */
static void take_state(struct stores__pg_shard *found, const struct pg_result *result) {
    if (stores__pg_columns(result) < 7) return;
    const char *state = stores__pg_value(result, 0, 5, NULL);
    const char *why = stores__pg_value(result, 0, 6, NULL);
    snprintf(found->state, sizeof found->state, "%s", state ? state : "");
    snprintf(found->why, sizeof found->why, "%s", why ? why : "");
}

void stores__pg_shard_take(struct stores__pg_shard *found, const struct pg_result *result) {
    size_t len = 0;
    if (stores__pg_rows(result) < 1 || stores__pg_columns(result) < 5) return;
    const char *row = stores__pg_value(result, 0, 4, &len);
    found->said = hash_of(row, len);
    const char *shard = stores__pg_value(result, 0, 0, NULL);
    const char *count = stores__pg_value(result, 0, 1, NULL);
    if (shard == NULL || count == NULL) return;
    found->shard = atoi(shard);
    found->count = atoi(count);
    copy(found->strategy, stores__pg_value(result, 0, 2, NULL));
    copy(found->cluster, stores__pg_value(result, 0, 3, NULL));
    take_state(found, result);
}

/* "shard 1 of 3, by modulo, of the cluster x". */
static void tell(const struct stores__pg_shard *shard, char *out, size_t size) {
    int len = snprintf(out, size, "shard %d of %d, by %.60s", shard->shard, shard->count,
                       shard->strategy);
    if (shard->cluster[0] == '\0' || len < 0 || (size_t)len >= size) return;
    snprintf(out + len, size - (size_t)len, ", of the cluster %.60s", shard->cluster);
}

static bool is_same(const struct stores__pg_shard *found, const struct stores__pg_shard *wanted) {
    return found->count == wanted->count && strcmp(found->strategy, wanted->strategy) == 0 &&
           (wanted->cluster[0] == '\0' || strcmp(found->cluster, wanted->cluster) == 0);
}

static void refuse_alone(const struct stores__pg_shard *found, const char *database, const char *is,
                         stores_error *error) {
    stores__error_set(error, STORES_SHARD_MISMATCH,
                      "the database %.100s is %s: a store alone would miss the rows of the others",
                      database, is);
    strcpy(error->hint, "open all of them with Shards.new; or say any_shard = true, where this one"
                        " is meant");
    if (!is_elsewhere(found)) return;
    snprintf(error->hint, sizeof error->hint,
             "%.150s says so, which is not in search_path: say any_shard = true where this store is"
             " of something else",
             table_of(found));
}

static void refuse_another(const struct stores__pg_shard *found,
                           const struct stores__pg_shard *wanted, const char *database,
                           const char *is, stores_error *error) {
    char is_not[224];
    tell(wanted, is_not, sizeof is_not);
    stores__error_set(error, STORES_SHARD_MISMATCH,
                      "the database %.100s is %s; the list of the shards has it as %s", database,
                      is, is_not);
    if (is_elsewhere(found)) {
        snprintf(error->hint, sizeof error->hint, "%.150s says so, which is not in search_path",
                 table_of(found));
    }
}

/* False: its rows belong to another database, for good or as long as it is filled. */
static bool owns_rows(const struct stores__pg_shard *found, const char *database,
                      stores_error *error) {
    bool unfinished = strcmp(found->state, "unfinished") == 0;
    if (!unfinished && strcmp(found->state, "moved") != 0) return true;
    stores__error_set(error, STORES_MOVED, "the database %.100s %s: %s", database,
                      unfinished ? "does not own its rows yet" : "owns no rows any more",
                      found->why);
    error->retryable = unfinished;
    return false;
}

bool stores__pg_shard_fits(struct stores__pg_shard *found, struct stores__pg_shard_place *place,
                           const char *database, stores_error *error) {
    const struct stores__pg_shard *wanted = &place->wanted;
    char is[224];
    if (place->any) return true;
    if (found->count > 0 && !is_elsewhere(found) && !owns_rows(found, database, error)) {
        return false;
    }
    tell(found, is, sizeof is);
    bool is_alone = found->count == 1 && wanted->count == 0; /* all rows are in it */
    if (found->count > 0 && wanted->count == 0 && !is_alone) {
        refuse_alone(found, database, is, error);
        return false;
    }
    bool is_right = is_alone || (found->shard == wanted->shard && is_same(found, wanted));
    if (is_elsewhere(found) && !is_right && is_same(found, wanted)) {
        found->count = 0; /* a sibling says so: this one says nothing */
    }
    if (found->count > 0 && !is_right) {
        refuse_another(found, wanted, database, is, error);
        return false;
    }
    if (found->count == 0 && place->was_told) {
        stores__error_set(error, STORES_SHARD_MISMATCH,
                          "the database %.100s does not say which shard it is, as it did before",
                          database);
        return false;
    }
    place->was_told = found->count > 0;
    return true;
}
