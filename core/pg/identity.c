/*
 * Who the server is, and which past of it: what a connection asks when it is new, and a cache
 * behind a transaction pooler with the statements that have to know.
 */
#include <inttypes.h>
#include <stdio.h>

#include "pg/conn.h"

#define SYSTEM "(SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system())"
#define DATABASE                                                                                   \
    "(SELECT oid::pg_catalog.text FROM pg_catalog.pg_database"                                     \
    " WHERE datname = pg_catalog.current_database())"
#define TIMELINE                                                                                   \
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN ''"                                             \
    " ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()),"  \
    " 1, 8) END"
#define NO_TIMELINE "CASE WHEN pg_catalog.pg_is_in_recovery() THEN '' ELSE '00000000' END"
#define NOTHING                                                                                    \
    "CASE WHEN pg_catalog.current_setting('in_hot_standby', true) = 'on' THEN '' ELSE '00000000' " \
    "END"
#define NULL_TEXT "NULL::pg_catalog.text"

/* A hardened server lets not everybody call all of these: the next one asks for less. The timeline
 * may be missing, for a promoted server has another run than the one before it. */
static const char *const questions[STORES__PG_IDENTITIES] = {
    SYSTEM ", " DATABASE ", " TIMELINE ", " STORES__PG_RUN_SQL,
    SYSTEM ", " DATABASE ", " NO_TIMELINE ", " STORES__PG_RUN_SQL,
    NULL_TEXT ", " DATABASE ", " TIMELINE ", " STORES__PG_RUN_SQL,
    NULL_TEXT ", " DATABASE ", " NO_TIMELINE ", " STORES__PG_RUN_SQL,
    NULL_TEXT ", " DATABASE ", " NOTHING ", " NULL_TEXT,
};

const char *stores__pg_identity_columns(int which) {
    return questions[which];
}

static void take(char *out, size_t size, const struct pg_result *result, int column) {
    const char *value = stores__pg_value(result, 0, column, NULL);
    snprintf(out, size, "%s", value ? value : "");
}

int64_t stores__pg_time(const char *hex) {
    enum { DAYS_TO_2000 = 10957 }; /* where the server's times begin */
    if (hex == NULL || strlen(hex) < 16) return 0;
    char digits[17] = "";
    memcpy(digits, hex, 16);
    return (int64_t)strtoull(digits, NULL, 16) + INT64_C(86400000000) * DAYS_TO_2000;
}

/* The run is two times: when the server was started, and, where one of its backends crashed since,
 * when it went on. Their decimals are part of what processes of all versions tell each other. */
static void name_past(struct stores__pg_identity *identity) {
    char all[sizeof identity->system + sizeof identity->database + 64], reset[24] = "";
    const char *second = strchr(identity->started, ' ');
    int64_t started = stores__pg_time(identity->started);
    if (started == 0 || identity->timeline[0] == '\0') return;
    if (second != NULL) snprintf(reset, sizeof reset, "%" PRId64, stores__pg_time(second + 1));
    int len = snprintf(all, sizeof all, "%s/%s/%" PRId64 " %s", identity->system,
                       identity->database, started, reset);
    uint64_t hash = stores__hash(all, (size_t)len);
    snprintf(identity->past, sizeof identity->past, "%.8s%08llX%012llX", identity->timeline,
             (unsigned long long)(started / 1000000) & 0xffffffff,
             (unsigned long long)(hash & 0xffffffffffff));
}

bool stores__pg_identity_take(struct stores__pg_identity *identity,
                              const struct pg_result *result) {
    memset(identity, 0, sizeof *identity);
    if (stores__pg_rows(result) != 1 || stores__pg_columns(result) < STORES__PG_IDENTITY_COLUMNS)
        return false;
    take(identity->system, sizeof identity->system, result, 0);
    take(identity->database, sizeof identity->database, result, 1);
    take(identity->timeline, sizeof identity->timeline, result, 2);
    take(identity->started, sizeof identity->started, result, 3);
    name_past(identity);
    return identity->database[0] != '\0';
}
