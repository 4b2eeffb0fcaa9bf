/* test_spread.c - what is known of a table that Citus spreads: which of its shards has an id. And
 * how much it is, of any: some 1150 tables that nobody holds stay in memory. */
#include "names/spread.h"

#include "check.h"

/* What SELECT hashint8(id) gives. */
static void hashes_as_postgres(void) {
    CHECK_INT(stores__spread_hash(0), -272711505);
    CHECK_INT(stores__spread_hash(1), -1905060026);
    CHECK_INT(stores__spread_hash(-1), 385747274);
    CHECK_INT(stores__spread_hash(42), 1509752520);
    CHECK_INT(stores__spread_hash(INT64_MAX), -1524351049);
    CHECK_INT(stores__spread_hash(INT64_MIN), -96758253);
    CHECK_INT(stores__spread_hash(INT64_C(4294967296)), -1905060026);
    CHECK_INT(stores__spread_hash(INT64_C(1234567890123)), 952082253);
    CHECK_INT(stores__spread_hash(INT64_C(-4294967297)), -1242090879);
}

static void finds_the_shard(void) {
    struct stores__table table = {0};
    CHECK_INT(stores__spread_shard(&table, 42), 0);
    stores__spread_take(&table, "h-2147483648,-1073741824,0,1073741824");
    CHECK_INT(table.spread, STORES__SPREAD_BY_ID);
    CHECK_INT(table.shard_count, 4);
    CHECK_INT(stores__spread_shard(&table, 1), 0);
    CHECK_INT(stores__spread_shard(&table, 0), 1);
    CHECK_INT(stores__spread_shard(&table, -1), 2);
    CHECK_INT(stores__spread_shard(&table, 42), 3);
    /* one that was split, and one range that ends where a hash is */
    stores__spread_take(&table, "h-2147483648,-1905060026,-272711504");
    CHECK_INT(stores__spread_shard(&table, 1), 1);
    CHECK_INT(stores__spread_shard(&table, 0), 1);
    CHECK_INT(stores__spread_shard(&table, 42), 2);
    stores__spread_take(&table, NULL);
    CHECK(table.shards == NULL);
}

static void tells_the_kinds(void) {
    struct stores__table table = {0};
    stores__spread_take(&table, "r");
    CHECK_INT(table.spread, STORES__SPREAD_COPIED);
    stores__spread_take(&table, "d");
    CHECK_INT(table.spread, STORES__SPREAD_OTHERWISE);
    stores__spread_take(&table, "h");
    CHECK_INT(table.spread, STORES__SPREAD_BY_ID);
    CHECK_INT(table.shard_count, 0);
    stores__spread_take(&table, "");
    CHECK_INT(table.spread, STORES__SPREAD_NONE);
    stores__spread_take(&table, NULL);
}

static void needs_little(void) {
    CHECK(sizeof(struct stores__table) <= 600);
}

int main(void) {
    needs_little();
    hashes_as_postgres();
    finds_the_shard();
    tells_the_kinds();
    return check_report();
}
