/* test_worker.c - what is read in the errors that a coordinator of Citus passes on. */
#include "base/worker.h"

#include "check.h"

static const char context[] = "while executing command on 10.0.0.7:5432";

static void names(const char *sqlstate, const char *message, const char *constraint,
                  const char *table) {
    stores_error e = STORES_ERROR_INIT;
    memset(&e, 0, sizeof e);
    strcpy(e.sqlstate, sqlstate);
    stores__worker_names(&e, message, context);
    if (!CHECK_STR(e.constraint, constraint) || !CHECK_STR(e.table, table)) {
        printf("  of '%s'\n", message);
    }
}

static void names_keys_and_checks(void) {
    names("23505", "duplicate key value violates unique constraint \"users_pkey_102017\"",
          "users_pkey", "");
    names("23514", "new row for relation \"users_102023\" violates check constraint \"has_age\"",
          "has_age", "users");
    names("23514", "neue Zeile für Relation »u_102023« verletzt Check-Constraint »a_1000000«",
          "a_1000000", "u");
    names(
        "23505",
        "la valeur d'une clé dupliquée rompt la contrainte unique «\xC2\xA0u_pkey_102017\xC2\xA0»",
        "u_pkey", "");
    names("23503",
          "insert or update on table \"orders_102031\" violates foreign key constraint"
          " \"orders_id_fkey_102031\"",
          "orders_id_fkey", "orders");
    names("23503",
          "update or delete on table \"users_102017\" violates foreign key constraint"
          " \"orders_id_fkey_102025\" on table \"orders_102025\"",
          "orders_id_fkey", "orders");
    names("23502", "null value in column \"value\" of relation \"users_102018\" violates not-null",
          "", "users");
}

static void leaves_what_it_cannot_tell(void) {
    stores_error e = STORES_ERROR_INIT;
    names("23505",
          "duplicate key value violates unique constraint"
          " \"an_index_with_a_name_that_is_extraordinarily_10a6f2b1_102033\"",
          "an_index_with_a_name_that_is_extraordinarily_10a6f2b1", "");
    /* 63 bytes: it was cut */
    names("23505",
          "duplicate key value violates unique constraint"
          " \"an_index_with_a_name_that_is_extraordinarily_lo_10a6f2b1_102033\"",
          "", "");
    names("23505", "no name in it", "", "");
    names("23505", "half a name \"users", "", "");
    names("22012", "division by \"zero_102033\"", "", "");
    strcpy(e.sqlstate, "23505");
    stores__worker_names(&e, "unique constraint \"orders_202401\"", NULL);
    CHECK_STR(e.constraint, ""); /* it is none of a worker */
    strcpy(e.constraint, "told");
    stores__worker_names(&e, "unique constraint \"users_pkey_102017\"", context);
    CHECK_STR(e.constraint, "told");
}

static void takes_numbers_off(void) {
    char long_name[] = "t_102071", none[] = "orders_2024", bare[] = "_102071", word[] = "t102071";
    CHECK(stores__worker_unsuffix(long_name));
    CHECK_STR(long_name, "t");
    CHECK(!stores__worker_unsuffix(none));
    CHECK_STR(none, "orders_2024");
    CHECK(!stores__worker_unsuffix(bare));
    CHECK(!stores__worker_unsuffix(word));
}

static void knows_losses(void) {
    CHECK(stores__worker_lost("08006",
                              "connection to the remote node a@10.0.0.7:5432 failed with the"
                              " following error: Connection refused",
                              NULL));
    CHECK(stores__worker_lost("XX000", "server closed the connection unexpectedly", context));
    CHECK(!stores__worker_lost("XX000", "server closed the connection unexpectedly", NULL));
    CHECK(!stores__worker_lost("XX000", "could not commit transaction", context));
    CHECK(!stores__worker_lost("08P01", "bind message supplies 0 parameters", context));
    CHECK(!stores__worker_lost("08001", "could not establish connection", NULL));
    CHECK(!stores__worker_lost("08006", NULL, context));
}

int main(void) {
    names_keys_and_checks();
    leaves_what_it_cannot_tell();
    takes_numbers_off();
    knows_losses();
    return check_report();
}
