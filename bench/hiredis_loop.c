/* GETs one at a time over one connection: the ceiling of a cached find alone.
 *   hiredis_loop SOCKET PREFIX KEYS SECONDS   prints calls a second */
#define _POSIX_C_SOURCE 200809L
#include <hiredis.h>
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
    if (argc != 5) return 2;
    redisContext *redis = redisConnectUnix(argv[1]);
    unsigned long keys = strtoul(argv[3], NULL, 10), calls = 0;
    double seconds = atof(argv[4]), began, took = 0;
    uint64_t seed = 88172645463325252ULL;
    if (redis == NULL || redis->err || keys == 0) return 1;
    for (began = now(); took < seconds; took = now() - began) {
        for (int i = 0; i < 64; i++, calls++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            redisReply *reply = redisCommand(redis, "GET %s%012lu", argv[2],
                                             (unsigned long)(seed % keys));
            if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
                fprintf(stderr, "hiredis_loop: %s\n", reply ? "no such key" : redis->errstr);
                return 1;
            }
            freeReplyObject(reply);
        }
    }
    printf("%.1f\n", (double)calls / took);
    redisFree(redis);
    return 0;
}
