/* sentinel.c - see sentinel.h. */
#include "redis/sentinel.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/lookup.h"
#include "redis/reply.h"
#include "redis/tls.h"

#define ANSWER_MOST 16 /* elements: an address has two, a publication three */
#define TEXT_MAX (64 * 1024)
#define WORDS_MAX 16

struct stores__sentinel {
    const struct stores__sentinel_terms *terms;
    const struct stores__sentinel_hooks *hooks;
    void *arg;
    struct stores__place place;
    struct stores__lookup *lookup; /* under way; NULL: none */
    struct addrinfo *addresses, *next; /* of its name, and the one that is tried next */
    struct stores__redis_socket *socket; /* NULL: none is open */
    unsigned sockets; /* that are not gone yet */
    struct stores__redis_out out;
    bool connected, closing;
    bool greets; /* the answer to AUTH is due */
};

static bool connect_next(struct stores__sentinel *sentinel, char *why, size_t size);

/* ---- Its socket ----------------------------------------------------------------------------- */

static void on_connected(void *arg) {
    struct stores__sentinel *sentinel = arg;

    sentinel->connected = true;
    stores__redis_socket_flush(sentinel->socket, &sentinel->out);
}

static void on_readable(void *arg) {
    struct stores__sentinel *sentinel = arg;

    stores__redis_socket_read(sentinel->socket);
}

static void on_moved(void *arg, size_t in, size_t out) {
    (void)arg;
    (void)in;
    (void)out;
}

static size_t expects(void *arg) {
    (void)arg;
    return ANSWER_MOST;
}

static void close_socket(struct stores__sentinel *sentinel) {
    if (sentinel->socket) stores__redis_socket_close(sentinel->socket);
    sentinel->socket = NULL;
}

static void on_lost(void *arg, const char *why) {
    struct stores__sentinel *sentinel = arg;
    char text[STORES__TLS_WHY];

    snprintf(text, sizeof text, "%s", why);
    if (!sentinel->connected) {
        close_socket(sentinel);
        if (connect_next(sentinel, text, sizeof text)) return;
    }
    sentinel->hooks->lost(sentinel->arg, text);
}

/* The first word of a refusal alone: the rest may quote what was sent, and that was a password. */
static void refuse_greeting(struct stores__sentinel *sentinel, const char *error) {
    char text[96];

    snprintf(text, sizeof text, "%s: %.*s",
             stores__redis_passwordless(error) ? "it has no password, and was sent one"
                                               : "it refuses the user name or the password",
             (int)strspn(error, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), error);
    sentinel->hooks->lost(sentinel->arg, text);
}

static void on_reply(void *arg, struct redisReply *reply) {
    struct stores__sentinel *sentinel = arg;
    const char *error = stores__redis_error(reply);
    bool greeted = sentinel->greets;

    sentinel->greets = false;
    if (!greeted) {
        sentinel->hooks->answer(sentinel->arg, reply);
    } else if (error) {
        refuse_greeting(sentinel, error);
    }
    stores__redis_reply_free(reply);
}

static void on_socket_closed(void *arg) {
    struct stores__sentinel *sentinel = arg;
    const struct stores__sentinel_terms *terms = sentinel->terms;

    if (--sentinel->sockets == 0 && sentinel->closing) free(sentinel);
    terms->released(terms->holder);
}

static const struct stores__redis_socket_hooks socket_hooks = {
    .connected = on_connected,
    .readable = on_readable,
    .moved = on_moved,
    .expects = expects,
    .reply = on_reply,
    .lost = on_lost,
    .garbled = on_lost,
    .closed = on_socket_closed,
};

static bool connect_to(struct stores__sentinel *sentinel, const char *address, char *why,
                       size_t size) {
    const struct stores__sentinel_terms *terms = sentinel->terms;

    sentinel->socket = stores__redis_socket_open(terms->loop, address, sentinel->place.port,
                                                 &socket_hooks, sentinel, why, size);
    if (!sentinel->socket) return false;
    stores__redis_socket_limit(sentinel->socket, TEXT_MAX);
    sentinel->sockets++;
    terms->held(terms->holder);
    if (terms->tls && !stores__redis_socket_secure(sentinel->socket, terms->tls,
                                                   sentinel->place.host, why, size)) {
        close_socket(sentinel);
    }
    return sentinel->socket != NULL;
}

/* ---- Its name ------------------------------------------------------------------------------- */

/* False: no address is left, and why has the last reason. */
static bool connect_next(struct stores__sentinel *sentinel, char *why, size_t size) {
    char numeric[NI_MAXHOST];

    while (sentinel->next) {
        struct addrinfo *at = sentinel->next;
        sentinel->next = at->ai_next;
        if (getnameinfo(at->ai_addr, at->ai_addrlen, numeric, sizeof numeric, NULL, 0,
                        NI_NUMERICHOST) != 0) {
            continue;
        }
        if (connect_to(sentinel, numeric, why, size)) return true;
    }
    return false;
}

static void on_resolved(void *arg, struct addrinfo *addresses, const char *why) {
    struct stores__sentinel *sentinel = arg;
    char text[STORES__TLS_WHY];

    sentinel->lookup = NULL;
    sentinel->addresses = sentinel->next = addresses;
    snprintf(text, sizeof text, "%s", addresses ? "it has no usable address" : why);
    if (!connect_next(sentinel, text, sizeof text)) {
        sentinel->hooks->lost(sentinel->arg, text);
    }
}

static bool is_numeric(const char *host) {
    unsigned char address[16];

    return uv_inet_pton(AF_INET, host, address) == 0 || uv_inet_pton(AF_INET6, host, address) == 0;
}

/* ---- The conversation ----------------------------------------------------------------------- */

static bool greet(struct stores__sentinel *sentinel) {
    const char *username = sentinel->terms->username, *password = sentinel->terms->password;
    const char *argv[3] = {"AUTH"};
    int argc = 1;

    if (!username && !password) return true;
    sentinel->greets = true;
    if (username) argv[argc++] = username;
    argv[argc++] = password ? password : "";
    return stores__sentinel_say(sentinel, argc, argv);
}

static bool reach(struct stores__sentinel *sentinel, const char *host, char *why, size_t size) {
    if (is_numeric(host)) return connect_to(sentinel, host, why, size);
    sentinel->lookup = stores__lookup(sentinel->terms->loop, host, on_resolved, sentinel);
    if (!sentinel->lookup) snprintf(why, size, "no memory, or no thread, to resolve its name");
    return sentinel->lookup != NULL;
}

struct stores__sentinel *stores__sentinel_open(const struct stores__sentinel_terms *terms,
                                               const struct stores__place *place,
                                               const struct stores__sentinel_hooks *hooks,
                                               void *arg, char *why, size_t why_size) {
    struct stores__sentinel *sentinel = calloc(1, sizeof *sentinel);

    snprintf(why, why_size, "memory ran out");
    if (!sentinel) return NULL;
    sentinel->terms = terms;
    sentinel->hooks = hooks;
    sentinel->arg = arg;
    sentinel->place = *place;
    stores__redis_out_init(&sentinel->out);
    if (!greet(sentinel) || !reach(sentinel, sentinel->place.host, why, why_size)) {
        stores__sentinel_close(sentinel);
        return NULL;
    }
    return sentinel;
}

bool stores__sentinel_say(struct stores__sentinel *sentinel, int argc, const char *const *argv) {
    size_t lens[WORDS_MAX];
    int i;

    assert(argc <= WORDS_MAX);
    for (i = 0; i < argc; i++) lens[i] = strlen(argv[i]);
    return stores__redis_out_command(&sentinel->out, argc, argv, lens, 0, NULL, NULL, NULL);
}

bool stores__sentinel_where(struct stores__sentinel *sentinel) {
    const char *argv[] = {"SENTINEL", "get-master-addr-by-name", sentinel->terms->master};

    return stores__sentinel_say(sentinel, 3, argv);
}

void stores__sentinel_flush(struct stores__sentinel *sentinel) {
    if (sentinel->connected) stores__redis_socket_flush(sentinel->socket, &sentinel->out);
}

bool stores__sentinel_place(const struct redisReply *reply, struct stores__place *place) {
    const char *host = stores__redis_text(stores__redis_at(reply, 0), NULL);
    const char *port = stores__redis_text(stores__redis_at(reply, 1), NULL);

    if (stores__redis_count(reply) != 2 || !host || !port) return false;
    if (host[0] == '\0' || strlen(host) >= sizeof place->host) return false;
    if (!stores__port_read(port, &place->port)) return false;
    snprintf(place->host, sizeof place->host, "%s", host);
    return true;
}

void stores__sentinel_deafen(struct stores__sentinel *sentinel, int deaf) {
    if (sentinel->socket) stores__redis_socket_deafen(sentinel->socket, deaf);
}

void stores__sentinel_close(struct stores__sentinel *sentinel) {
    if (!sentinel || sentinel->closing) return;
    sentinel->closing = true;
    if (sentinel->lookup) stores__lookup_forget(sentinel->lookup);
    sentinel->lookup = NULL;
    if (sentinel->addresses) uv_freeaddrinfo(sentinel->addresses);
    sentinel->addresses = sentinel->next = NULL;
    stores__redis_out_clear(&sentinel->out);
    close_socket(sentinel);
    if (sentinel->sockets == 0) free(sentinel);
}
