/* Prepared SELECTs one at a time over one connection: the ceiling of a find alone, without cache.
 *   libpq_loop SQL ROWS SECONDS   the server is that of the environment; prints calls a second */
#define _POSIX_C_SOURCE 200809L
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    PGconn *pg = PQconnectdb("");
    unsigned long rows = strtoul(argv[2], NULL, 10), calls = 0;
    double seconds = atof(argv[3]), began, took = 0;
    uint64_t seed = 88172645463325252ULL;
    PGresult *result = PQprepare(pg, "find", argv[1], 1, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK || rows == 0) {
        fprintf(stderr, "libpq_loop: %s", PQerrorMessage(pg));
        return 1;
    }
    PQclear(result);
    for (began = now(); took < seconds; took = now() - began) {
        for (int i = 0; i < 64; i++, calls++) {
            char id[24];
            const char *values[] = {id};
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            snprintf(id, sizeof id, "%lu", (unsigned long)(seed % rows) + 1);
            result = PQexecPrepared(pg, "find", 1, values, NULL, NULL, 0);
            if (PQntuples(result) != 1) {
                fprintf(stderr, "libpq_loop: row %s: %s\n", id, PQerrorMessage(pg));
                return 1;
            }
            PQclear(result);
        }
    }
    printf("%.1f\n", (double)calls / took);
    PQfinish(pg);
    return 0;
}
