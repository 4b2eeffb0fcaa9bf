/*
 * A C program with a poll loop of its own, that waits for Stores beside its other descriptors: here
 * a clock that ticks every 5 ms while twenty documents are read and changed.
 *
 *   cc poll_loop.c -o poll_loop $(pkg-config --cflags --libs stores)
 *   ./poll_loop HOST USER DATABASE REDIS_SOCKET
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <stores.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { COUNT = 20, ROUNDS = 10 };

struct counter {
    stores_engine *engine;
    int64_t id;
    int rounds;
};

static int running = COUNT;

static void changed(stores_op *op, void *arg);

static void change(struct counter *counter) {
    stores_call call = {.size = sizeof call, .cb = changed, .arg = counter};
    stores_change change = {.size = sizeof change,
                            .kind = STORES_MODIFY,
                            .table = "counters",
                            .id = counter->id,
                            .expr = "jsonb_set(value, '{n}', to_jsonb((value->>'n')::int + 1))"};
    if (stores_write(counter->engine, &call, &change) == NULL) exit(1);
}

/* Runs in stores_pump; it may start calls and free its own, and must not wait. */
static void changed(stores_op *op, void *arg) {
    struct counter *counter = arg;
    const stores_error *error = stores_op_error(op);
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", stores_code_name(error->code), error->message);
        exit(1);
    }
    stores_op_free(op);
    if (++counter->rounds < ROUNDS) {
        change(counter);
    } else {
        running--;
    }
}

static void run(stores_engine *engine, const char *sql) {
    stores_call call = STORES_CALL_INIT;
    stores_op *op = stores_query(engine, &call, sql, NULL, NULL);
    if (op == NULL) exit(1);
    stores_wait(engine, op);
    if (stores_op_error(op) != NULL) {
        fprintf(stderr, "%s\n", stores_op_error(op)->message);
        exit(1);
    }
    stores_op_free(op);
}

static int make_clock(void) {
    struct itimerspec every = {{0, 5000000}, {0, 5000000}};
    int clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (clock < 0 || timerfd_settime(clock, 0, &every, NULL) != 0) exit(1);
    return clock;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: poll_loop HOST USER DATABASE REDIS_SOCKET\n");
        return 2;
    }
    const char *keys[] = {"host", "user", "dbname", NULL};
    const char *values[] = {argv[1], argv[2], argv[3], NULL};
    stores_config config = STORES_CONFIG_INIT;
    config.pg_keys = keys;
    config.pg_values = values;
    config.redis_path = argv[4];
    stores_error error = STORES_ERROR_INIT;
    stores_engine *engine = stores_engine_new(&config, &error);
    if (engine == NULL) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    run(engine, "DROP TABLE IF EXISTS counters");
    run(engine, "CREATE TABLE counters (id bigint PRIMARY KEY, value jsonb)");
    run(engine, "INSERT INTO counters SELECT i, '{\"n\": 0}' FROM generate_series(1, 20) i");

    struct counter counters[COUNT];
    for (int i = 0; i < COUNT; i++) {
        counters[i] = (struct counter){.engine = engine, .id = i + 1};
        change(&counters[i]);
    }
    int ticks = 0;
    struct pollfd fds[2] = {{.fd = make_clock(), .events = POLLIN},
                            {.fd = stores_backend_fd(engine), .events = POLLIN}};
    while (running > 0 || ticks < 3) {
        /* sends what was asked for, takes what came; its callbacks ask for more */
        stores_pump(engine);
        if (poll(fds, 2, stores_backend_timeout(engine)) < 0) return 1;
        uint64_t expired;
        if ((fds[0].revents & POLLIN) && read(fds[0].fd, &expired, sizeof expired) > 0) ticks++;
    }
    close(fds[0].fd);

    int sum = 0;
    for (int i = 0; i < COUNT; i++) sum += counters[i].rounds;
    printf("%d changes while a clock ticked\n", sum);
    stores_engine_close(engine, NULL, NULL);
    return 0;
}
