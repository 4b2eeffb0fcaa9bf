/* tls.c - see tls.h. OpenSSL reads from what was given and writes into memory, and never waits. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <uv.h>

#include "redis/tls_internal.h"

#define CIPHER_MIN (32 * 1024)
#define CIPHER_KEEP (1024 * 1024)
#define AT_ONCE (256 * 1024) /* bytes that are encrypted before they are sent */

/* ---- Where OpenSSL reads and writes --------------------------------------------------------- */

static int bio_read(BIO *bio, char *out, int size) {
    struct stores__tls *tls = BIO_get_data(bio);
    size_t len = (size_t)size < tls->in_len ? (size_t)size : tls->in_len;

    BIO_clear_retry_flags(bio);
    if (len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, tls->in, len);
    tls->in += len;
    tls->in_len -= len;
    return (int)len;
}

static bool make_room(struct stores__tls *tls, size_t len) {
    size_t cap = tls->cipher_cap > 0 ? tls->cipher_cap : CIPHER_MIN;
    char *grown;

    while (cap - tls->cipher_len < len) cap *= 2;
    if (cap == tls->cipher_cap) return true;
    grown = realloc(tls->cipher, cap);
    if (!grown) return false;
    tls->cipher = grown;
    tls->cipher_cap = cap;
    return true;
}

static int bio_write(BIO *bio, const char *data, int len) {
    struct stores__tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0 || !make_room(tls, (size_t)len)) return -1;
    memcpy(tls->cipher + tls->cipher_len, data, (size_t)len);
    tls->cipher_len += (size_t)len;
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *arg) {
    (void)bio, (void)number, (void)arg;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static uv_once_t once = UV_ONCE_INIT;
static BIO_METHOD *method; /* of the process; NULL: no memory */

static void make_method(void) {
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stores");

    if (!made || !BIO_meth_set_read(made, bio_read) || !BIO_meth_set_write(made, bio_write) ||
        !BIO_meth_set_ctrl(made, bio_ctrl) || !BIO_meth_set_create(made, bio_create)) {
        BIO_meth_free(made);
        return;
    }
    method = made;
}

/* ---- Open and close ------------------------------------------------------------------------- */

/* Who the server has to be. Names are told to it, addresses are not (RFC 6066). */
static bool expect(struct stores__tls *tls) {
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    unsigned char address[16];
    size_t len = strlen(tls->host);

    if (uv_inet_pton(AF_INET, tls->host, address) == 0 ||
        uv_inet_pton(AF_INET6, tls->host, address) == 0) {
        tls->host[strcspn(tls->host, "%")] = '\0'; /* the zone is ours alone */
        return X509_VERIFY_PARAM_set1_ip_asc(param, tls->host) == 1;
    }
    if (len > 1 && tls->host[len - 1] == '.') tls->host[len - 1] = '\0';
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, tls->host, 0) == 1 &&
           SSL_set_tlsext_host_name(tls->ssl, tls->host) == 1;
}

static bool begin(struct stores__tls *tls, SSL_CTX *ctx, char *why, size_t why_size) {
    BIO *bio;

    uv_once(&once, make_method);
    tls->ssl = SSL_new(ctx);
    bio = tls->ssl && method ? BIO_new(method) : NULL;
    if (!bio) {
        snprintf(why, why_size, "memory ran out");
        return false;
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    SSL_set_connect_state(tls->ssl);
    if (expect(tls)) return true;
    snprintf(why, why_size, "no certificate can be for the name '%.100s'", tls->host);
    return false;
}

struct stores__tls *stores__tls_open(struct stores__tls_context *context, const char *host,
                                     char *why, size_t why_size) {
    const stores_tls *config = stores__tls_context_config(context);
    SSL_CTX *ctx = stores__tls_context_get(context, why, why_size);
    struct stores__tls *tls;

    if (!ctx) return NULL;
    tls = malloc(sizeof *tls);
    if (!tls) {
        snprintf(why, why_size, "memory ran out");
        return NULL;
    }
    memset(tls, 0, offsetof(struct stores__tls, plain));
    snprintf(tls->host, sizeof tls->host, "%s", config->server_name ? config->server_name : host);
    if (config->ca) {
        snprintf(tls->trusted, sizeof tls->trusted, "ca '%.80s'", config->ca);
    } else {
        snprintf(tls->trusted, sizeof tls->trusted, "the system (ca)");
    }
    if (begin(tls, ctx, why, why_size)) return tls;
    ERR_clear_error();
    stores__tls_free(tls);
    return NULL;
}

void stores__tls_free(struct stores__tls *tls) {
    if (!tls) return;
    SSL_free(tls->ssl);
    free(tls->cipher);
    free(tls);
}

/* ---- In ------------------------------------------------------------------------------------- */

void stores__tls_give(struct stores__tls *tls, const char *data, size_t len) {
    assert(tls->in_len == 0);
    tls->in = data;
    tls->in_len = len;
    tls->read = false;
    if (len > 0) tls->heard = true;
}

bool stores__tls_heard(const struct stores__tls *tls) {
    return tls->heard;
}

enum stores__tls_shaken stores__tls_shake(struct stores__tls *tls) {
    int done;

    ERR_clear_error();
    done = SSL_do_handshake(tls->ssl);
    if (done == 1) return STORES__TLS_DONE;
    if (SSL_get_error(tls->ssl, done) == SSL_ERROR_WANT_READ) return STORES__TLS_MORE;
    tls->over = true;
    stores__tls_explain(tls);
    return STORES__TLS_FAILED;
}

ssize_t stores__tls_read(struct stores__tls *tls, const char **data) {
    int len;

    if (tls->over) return -1;
    /* what OpenSSL holds is then the beginning of a record: it would look for more, in vain */
    if (tls->read && tls->in_len == 0 && SSL_pending(tls->ssl) == 0) return 0;
    ERR_clear_error();
    len = SSL_read(tls->ssl, tls->plain, sizeof tls->plain);
    tls->read = len > 0;
    if (len > 0) {
        *data = tls->plain;
        return len;
    }
    switch (SSL_get_error(tls->ssl, len)) {
    case SSL_ERROR_WANT_READ: return 0;
    case SSL_ERROR_ZERO_RETURN:
        snprintf(tls->why, sizeof tls->why, "the server closed the connection");
        break;
    default: stores__tls_explain(tls);
    }
    tls->over = true;
    return -1;
}

/* ---- Out ------------------------------------------------------------------------------------ */

size_t stores__tls_unsent(const struct stores__tls *tls) {
    return tls->cipher_len - tls->cipher_sent;
}

static void forget_sent(struct stores__tls *tls) {
    tls->cipher_len = tls->cipher_sent = 0;
    if (tls->cipher_cap <= CIPHER_KEEP) return;
    free(tls->cipher);
    tls->cipher = NULL;
    tls->cipher_cap = 0;
}

/* Bytes sent, or -1 with errno. */
static ssize_t push(struct stores__tls *tls, int fd) {
    ssize_t total = 0;

    while (stores__tls_unsent(tls) > 0) {
        /* A library must not have its host killed by SIGPIPE, as write(2) would. */
        ssize_t n = send(fd, tls->cipher + tls->cipher_sent, stores__tls_unsent(tls), MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR) continue;
            return errno == EAGAIN || errno == EWOULDBLOCK ? total : -1;
        }
        tls->cipher_sent += (size_t)n;
        total += n;
    }
    forget_sent(tls);
    return total;
}

/* False: no memory. */
static bool encrypt(struct stores__tls *tls, struct stores__redis_out *out) {
    while (out->unsent > 0 && stores__tls_unsent(tls) < AT_ONCE) {
        size_t len;
        const char *data = stores__redis_out_next(out, &len);
        int took;
        if (len > AT_ONCE) len = AT_ONCE;
        ERR_clear_error();
        took = SSL_write(tls->ssl, data, (int)len);
        if (took <= 0) {
            tls->over = true;
            stores__tls_explain(tls);
            return false;
        }
        stores__redis_out_took(out, (size_t)took);
    }
    return true;
}

ssize_t stores__tls_write(struct stores__tls *tls, struct stores__redis_out *out, int fd) {
    ssize_t total = 0;

    for (;;) {
        ssize_t n;
        if (out && !encrypt(tls, out)) {
            errno = ENOMEM;
            return -1;
        }
        n = push(tls, fd);
        if (n < 0) return -1;
        total += n;
        if (stores__tls_unsent(tls) > 0 || !out || out->unsent == 0) return total;
    }
}

void stores__tls_leave(struct stores__tls *tls, int fd) {
    if (tls->over || stores__tls_unsent(tls) > 0) return;
    tls->over = true;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
    push(tls, fd);
}

const char *stores__tls_why(const struct stores__tls *tls) {
    return tls->why;
}
