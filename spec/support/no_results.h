/*
 * no_results.h - results that libpq has no memory for, when a test says so. Its program is linked
 * with PQgetResult wrapped, and includes no_memory.h as well.
 */
#ifndef STORES_SPEC_NO_RESULTS_H
#define STORES_SPEC_NO_RESULTS_H

#include "no_memory.h"
#include "pg/conn.h"

static int fail_result_at; /* the how-manyth from now on fails; 0: none */

struct pg_result *__real_PQgetResult(void *pg);
struct pg_result *__wrap_PQgetResult(void *pg);

struct pg_result *__wrap_PQgetResult(void *pg) {
    struct pg_result *result = __real_PQgetResult(pg);
    if (result == NULL || !fails(&fail_result_at)) return result;
    stores__pg_result_free(result);
    return NULL;
}

#endif
