/* socket.c - see socket.h. */
#include "redis/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/deaf.h"
#include "redis/maker.h"
#include "redis/reply.h"
#include "redis/tls.h"

#define READ_SIZE (128 * 1024)
#define READ_AT_ONCE (2 * 1024 * 1024) /* then the host's other handles have their turn */

enum stage { ARRIVING, SHAKING, OPEN };

struct stores__redis_socket {
    uv_poll_t poll;
    redisContext *context;
    struct stores__tls *tls; /* NULL: what comes and goes is plain */
    struct stores__redis_maker maker; /* of the replies of its reader */
    const struct stores__redis_socket_hooks *hooks;
    void *arg;
    enum stage stage;
    bool blocked; /* something waits for it to be writable: of tls, or of out */
    struct stores__redis_out *out; /* NULL: none */
    size_t text_max;
    bool closing;
    int broken; /* errno of what ended it, once what came before is read; 0: it goes on */
    uint64_t process; /* that opened it */
    char buffer[READ_SIZE];
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_closed(uv_handle_t *handle) {
    struct stores__redis_socket *socket = STORES__CONTAINER(handle, struct stores__redis_socket,
                                                            poll);

    redisFree(socket->context);
    stores__tls_free(socket->tls);
    if (socket->hooks) socket->hooks->closed(socket->arg);
    free(socket);
}

static redisContext *connect_to(const char *address, int port, char *why, size_t why_size) {
    redisContext *context = port ? redisConnectNonBlock(address, port)
                                 : redisConnectUnixNonBlock(address);

    if (!context) {
        snprintf(why, why_size, "memory ran out");
        return NULL;
    }
    if (context->err) {
        snprintf(why, why_size, "%s", context->errstr);
        redisFree(context);
        return NULL;
    }
    fcntl(context->fd, F_SETFD, FD_CLOEXEC); /* the host's children have no business with it */
    context->reader->maxbuf = 4 * READ_SIZE;
    return context;
}

struct stores__redis_socket *
stores__redis_socket_open(uv_loop_t *loop, const char *address, int port,
                          const struct stores__redis_socket_hooks *hooks, void *arg, char *why,
                          size_t why_size) {
    struct stores__redis_socket *socket = malloc(sizeof *socket);
    int err;

    if (!socket) {
        snprintf(why, why_size, "memory ran out");
        return NULL;
    }
    memset(socket, 0, offsetof(struct stores__redis_socket, buffer));
    socket->context = connect_to(address, port, why, why_size);
    if (!socket->context) {
        free(socket);
        return NULL;
    }
    socket->process = stores__process();
    stores__redis_reply_made_by(socket->context->reader, &socket->maker);
    err = uv_poll_init(loop, &socket->poll, socket->context->fd);
    if (err) {
        snprintf(why, why_size, "%s", uv_strerror(err));
        redisFree(socket->context);
        free(socket);
        return NULL;
    }
    uv_unref((uv_handle_t *)&socket->poll);
    err = uv_poll_start(&socket->poll, UV_WRITABLE, on_poll);
    if (err) {
        snprintf(why, why_size, "%s", uv_strerror(err));
        stores__redis_socket_close(socket); /* without hooks: it never was */
        return NULL;
    }
    socket->hooks = hooks;
    socket->arg = arg;
    return socket;
}

void stores__redis_socket_limit(struct stores__redis_socket *socket, size_t text_max) {
    socket->text_max = text_max;
}

bool stores__redis_socket_secure(struct stores__redis_socket *socket,
                                 struct stores__tls_context *context, const char *host, char *why,
                                 size_t why_size) {
    socket->tls = stores__tls_open(context, host, why, why_size);
    return socket->tls != NULL;
}

const char *stores__redis_socket_shakes(const struct stores__redis_socket *socket) {
    if (socket->stage != SHAKING) return NULL;
    return stores__tls_heard(socket->tls) ? "" : ": is it TLS that is spoken on this port?";
}

void stores__redis_socket_deafen(struct stores__redis_socket *socket, int deaf) {
    stores__deafen(socket->context->fd, deaf);
}

void stores__redis_socket_close(struct stores__redis_socket *socket) {
    if (socket->closing) return;
    socket->closing = true;
    if (socket->stage == OPEN && socket->tls && socket->process == stores__process()) {
        stores__tls_leave(socket->tls, socket->context->fd);
    }
    uv_close((uv_handle_t *)&socket->poll, on_closed);
}

static void lose(struct stores__redis_socket *socket, const char *why) {
    if (socket->closing) return;
    uv_poll_stop(&socket->poll);
    socket->hooks->lost(socket->arg, why);
}

static void refuse(struct stores__redis_socket *socket, const char *why) {
    if (socket->closing) return;
    uv_poll_stop(&socket->poll);
    socket->hooks->garbled(socket->arg, why);
}

static void watch(struct stores__redis_socket *socket, int events) {
    int err = uv_poll_start(&socket->poll, events, on_poll);

    if (err) lose(socket, uv_strerror(err));
}

/* Sends what waits in tls and in out, as far as that goes. */
static void send_from(struct stores__redis_socket *socket, struct stores__redis_out *out) {
    int fd = socket->context->fd;
    bool blocked;
    ssize_t sent = socket->tls ? stores__tls_write(socket->tls, out, fd)
                               : stores__redis_out_write(out, fd);

    if (sent < 0) {
        lose(socket, strerror(errno));
        return;
    }
    socket->out = out && out->unsent > 0 ? out : NULL;
    blocked = socket->out || (socket->tls && stores__tls_unsent(socket->tls) > 0);
    if (blocked != socket->blocked) {
        socket->blocked = blocked;
        watch(socket, UV_READABLE | (blocked ? UV_WRITABLE : 0));
        if (socket->closing) return;
    }
    if (sent > 0) socket->hooks->moved(socket->arg, 0, (size_t)sent);
}

void stores__redis_socket_flush(struct stores__redis_socket *socket,
                                struct stores__redis_out *out) {
    send_from(socket, out);
}

/* How long the text that has not come whole says it is; 0 where it does not say so yet. What is not
 * read yet begins with that number: all other replies are read with their line. */
static size_t announced(const redisReader *reader) {
    const char *at = reader->buf + reader->pos;
    size_t left = reader->len - reader->pos;

    return left > 0 && memchr(at, '\n', left) ? (size_t)strtoull(at, NULL, 10) : 0;
}

static bool refuse_more(struct stores__redis_socket *socket) {
    refuse(socket, "it sent more than it was asked for");
    return false;
}

static bool unreadable(struct stores__redis_socket *socket) {
    const redisReader *reader = socket->context->reader;

    if (socket->maker.exceeded) return refuse_more(socket);
    if (reader->err == REDIS_ERR_OOM) {
        lose(socket, reader->errstr); /* nothing is wrong with the server */
    } else {
        refuse(socket, reader->errstr);
    }
    return false;
}

/* Hands over the replies that are complete. False where the socket is of no more use. */
static bool dispatch(struct stores__redis_socket *socket) {
    redisReader *reader = socket->context->reader;
    while (!socket->closing) {
        void *reply = NULL;
        socket->maker.most = socket->hooks->expects(socket->arg);
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            return unreadable(socket);
        }
        if (!reply && (reader->len - reader->pos > socket->text_max ||
                       announced(reader) > socket->text_max)) {
            return refuse_more(socket);
        }
        if (!reply) return true;
        socket->hooks->reply(socket->arg, reply);
    }
    return false;
}

/* ---- In ------------------------------------------------------------------------------------- */

/* False where the socket is of no more use. */
static bool feed(struct stores__redis_socket *socket, const char *data, size_t len) {
    redisReader *reader = socket->context->reader;

    if (redisReaderFeed(reader, data, len) == REDIS_OK) return dispatch(socket);
    return unreadable(socket);
}

/* Reads what TLS has. False where the socket is of no more use. */
static bool decrypt(struct stores__redis_socket *socket) {
    const char *data;
    ssize_t len;

    while ((len = stores__tls_read(socket->tls, &data)) > 0) {
        if (!feed(socket, data, (size_t)len)) return false;
    }
    if (len < 0) {
        lose(socket, stores__tls_why(socket->tls));
        return false;
    }
    /* TLS may have answers of its own */
    if (stores__tls_unsent(socket->tls) > 0) send_from(socket, socket->out);
    return !socket->closing;
}

/* Goes on with the handshake. False where the socket is of no more use. */
static bool shake(struct stores__redis_socket *socket) {
    enum stores__tls_shaken shaken = stores__tls_shake(socket->tls);

    if (shaken == STORES__TLS_FAILED) {
        stores__tls_write(socket->tls, NULL, socket->context->fd); /* tells the server why */
        lose(socket, stores__tls_why(socket->tls));
        return false;
    }
    if (shaken == STORES__TLS_DONE) {
        socket->stage = OPEN;
        socket->hooks->connected(socket->arg); /* the end of the handshake goes with its greeting */
        if (socket->closing) return false;
    }
    if (stores__tls_unsent(socket->tls) > 0) send_from(socket, socket->out);
    return !socket->closing;
}

static bool take(struct stores__redis_socket *socket, size_t len) {
    if (!socket->tls) return feed(socket, socket->buffer, len);
    stores__tls_give(socket->tls, socket->buffer, len);
    if (socket->stage == SHAKING && !shake(socket)) return false;
    return socket->stage == SHAKING || decrypt(socket);
}

static void end(struct stores__redis_socket *socket) {
    if (socket->broken) {
        lose(socket, strerror(socket->broken));
    } else if (socket->stage == SHAKING) {
        lose(socket, "the server closed the connection in the TLS handshake");
    } else {
        lose(socket, "the server closed the connection");
    }
}

void stores__redis_socket_read(struct stores__redis_socket *socket) {
    if (socket->process != stores__process()) return; /* the parent reads it */
    size_t total = 0;

    while (!socket->closing && (total < READ_AT_ONCE || socket->broken)) {
        ssize_t n = recv(socket->context->fd, socket->buffer, sizeof socket->buffer, 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (socket->broken) {
                end(socket);
            } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
                lose(socket, strerror(errno));
            }
            break;
        }
        if (n == 0) {
            end(socket);
            break;
        }
        total += (size_t)n;
        socket->hooks->moved(socket->arg, (size_t)n, 0);
        if (!take(socket, (size_t)n)) break;
        if ((size_t)n < sizeof socket->buffer && !socket->broken) break;
    }
}

/* ---- The poll ------------------------------------------------------------------------------- */

static int socket_error(struct stores__redis_socket *socket) {
    int err = 0;
    socklen_t size = sizeof err;

    if (getsockopt(socket->context->fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0) err = errno;
    return err;
}

static void arrive(struct stores__redis_socket *socket, int status) {
    int err = socket_error(socket);

    if (err || status < 0) {
        lose(socket, err ? strerror(err) : uv_strerror(status));
        return;
    }
    socket->stage = socket->tls ? SHAKING : OPEN;
    watch(socket, UV_READABLE);
    if (socket->closing) return;
    if (socket->tls) {
        shake(socket);
    } else {
        socket->hooks->connected(socket->arg);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct stores__redis_socket *socket = STORES__CONTAINER(poll, struct stores__redis_socket,
                                                            poll);

    if (socket->process != stores__process()) return; /* after a fork it is the parent's */
    if (socket->stage == ARRIVING) {
        arrive(socket, status);
        return;
    }
    if (status < 0) {
        /* what it said before, such as why it closes, is read first; libuv polls no more */
        int err = socket_error(socket);
        socket->broken = err ? err : ECONNRESET;
        socket->hooks->readable(socket->arg);
        return;
    }
    if (events & UV_WRITABLE && socket->blocked) send_from(socket, socket->out);
    if (events & UV_READABLE && !socket->closing) socket->hooks->readable(socket->arg);
}
