/*
 * test_lookup.c - engines that close, and calls that end, while a name server does not answer. The
 * getaddrinfo of this program takes the place of the system's, and answers when it is told to.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "engine_harness.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int asking, answered; /* threads that wait for an answer; that got one */
static bool silent = true;

static struct addrinfo *loopback(void) {
    static const struct sockaddr_in address = {.sin_family = AF_INET,
                                               .sin_addr = {.s_addr = 0x0100007f}};
    struct addrinfo *list = calloc(1, sizeof *list + sizeof address);
    list->ai_family = AF_INET;
    list->ai_socktype = SOCK_STREAM;
    list->ai_addrlen = sizeof address;
    list->ai_addr = (struct sockaddr *)(list + 1);
    memcpy(list->ai_addr, &address, sizeof address);
    return list;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **list) {
    (void)service;
    (void)hints;
    pthread_mutex_lock(&lock);
    asking++;
    pthread_cond_broadcast(&changed);
    while (silent) pthread_cond_wait(&changed, &lock);
    asking--;
    answered++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (strcmp(name, "nobody.test") == 0) return EAI_NONAME;
    *list = loopback();
    return 0;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

static void be_silent(bool yes) {
    pthread_mutex_lock(&lock);
    silent = yes;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int value_of(const int *what) {
    pthread_mutex_lock(&lock);
    int value = *what;
    pthread_mutex_unlock(&lock);
    return value;
}

static stores_config config_for(const char *pg, const char *redis) {
    static const char *const keys[] = {"host", "port", "user", "dbname", "sslmode", NULL};
    static const char *values[] = {NULL, "1", "postgres", "x", "disable", NULL};
    stores_config config = STORES_CONFIG_INIT;
    values[0] = pg;
    config.pg_keys = keys;
    config.pg_values = values;
    config.no_cache = redis == NULL;
    config.redis_host = redis;
    config.redis_port = 1;
    config.loop = &loop;
    return config;
}

static void gone(void *arg) {
    *(bool *)arg = true;
}

static void test_own_loop(void) {
    stores_config config = config_for("slow.test", "slow.test");
    config.loop = NULL;
    int before = value_of(&answered);
    stores_engine *engine = engine_with(&config);
    stores_op *op = stores_find(engine, NULL, "docs", 1);
    for (int i = 0; i < 10000 && value_of(&asking) < 2; i++) {
        stores_pump(engine);
        usleep(500);
    }
    CHECK_INT(value_of(&asking), 2);
    stores_engine_close(engine, NULL, NULL);
    CHECK_INT(value_of(&answered), before); /* it did not wait for them */
    CHECK_INT(stores_op_error(op)->code, STORES_CLOSED);
    stores_op_free(op);
    be_silent(false);
    for (int i = 0; i < 10000 && value_of(&asking) > 0; i++) usleep(500);
    usleep(20000); /* the threads free what is theirs */
    be_silent(true);
}

static void test_loop_of_the_host(void) {
    stores_config config = config_for("slow.test", "slow.test");
    bool closed = false;
    stores_engine *engine = engine_with(&config);
    stores_op *op = stores_find(engine, NULL, "docs", 1);
    TURN_UNTIL(value_of(&asking) == 2, 10000);
    stores_engine_close(engine, gone, &closed);
    TURN_UNTIL(closed, 10000);
    CHECK(closed);
    stores_op_free(op);
    /* nothing of it is left on the loop, though the name server has not answered */
    uv_close((uv_handle_t *)&held, NULL);
    CHECK_INT(uv_run(&loop, UV_RUN_DEFAULT), 0);
    CHECK_INT(uv_loop_close(&loop), 0);
    CHECK_INT(value_of(&asking), 2);
    be_silent(false);
    for (int i = 0; i < 10000 && value_of(&asking) > 0; i++) usleep(500);
    usleep(20000);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &held);
    uv_timer_start(&held, hold, 1000, 1000);
}

static void test_answers(void) {
    for (int known = 0; known < 2; known++) {
        stores_config config = config_for(known ? "local.test" : "nobody.test", NULL);
        config.connect_timeout_ms = 5000;
        stores_engine *engine = engine_with(&config);
        stores_call call = {.size = sizeof call, .timeout_ms = 8000};
        stores_op *op = stores_find(engine, &call, "docs", 1);
        TURN_UNTIL(stores_op_done(op), 10000);
        const stores_error *error = stores_op_error(op);
        CHECK_INT(error ? error->code : 0, STORES_CONNECT_FAILED);
        bool resolved = error != NULL && strstr(error->message, "cannot resolve") == NULL;
        CHECK_INT(resolved, known);
        stores_op_free(op);
        engine_close(engine);
    }
}

int main(void) {
    uv_loop_init(&loop);
    uv_timer_init(&loop, &held);
    uv_timer_start(&held, hold, 1000, 1000);
    test_own_loop();
    test_loop_of_the_host();
    test_answers();
    uv_close((uv_handle_t *)&held, NULL);
    CHECK_INT(uv_run(&loop, UV_RUN_DEFAULT), 0);
    CHECK_INT(uv_loop_close(&loop), 0);
    return check_report();
}
