/*
 * test_redis_tls.c - TLS of one connection, beside a server that is OpenSSL itself: records that
 * come in pieces, sockets that take no more, new keys, goodbyes. A link over it to a real
 * redis-server: test_redis_tls_link.c.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "redis_harness.h"
#include "redis/tls.h"

/* ---- Both ends ------------------------------------------------------------------------------ */

static struct {
    struct stores__tls_context *context;
    struct stores__tls *tls;
    int fd; /* where the client writes */
    int other; /* and who reads there */
    SSL_CTX *ctx;
    SSL *ssl; /* the server */
    BIO *in, *out;
} ends;

static void make_ends(const char *host, int type) {
    stores_tls asked = STORES_TLS_INIT;
    int fds[2];
    char why[STORES__TLS_WHY] = "";

    asked.ca = cert_file;
    memset(&ends, 0, sizeof ends);
    CHECK_INT(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), 0);
    ends.fd = fds[0];
    ends.other = fds[1];
    ends.context = stores__tls_context_new(&asked);
    ends.tls = stores__tls_open(ends.context, host, why, sizeof why);
    CHECK_STR(why, "");
    ends.ctx = SSL_CTX_new(TLS_server_method());
    CHECK_INT(SSL_CTX_use_certificate_file(ends.ctx, cert_file, SSL_FILETYPE_PEM), 1);
    CHECK_INT(SSL_CTX_use_PrivateKey_file(ends.ctx, key_file, SSL_FILETYPE_PEM), 1);
    ends.ssl = SSL_new(ends.ctx);
    ends.in = BIO_new(BIO_s_mem());
    ends.out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(ends.in, -1);
    SSL_set_bio(ends.ssl, ends.in, ends.out);
    SSL_set_accept_state(ends.ssl);
}

static void free_ends(void) {
    stores__tls_free(ends.tls);
    stores__tls_context_free(ends.context);
    SSL_free(ends.ssl);
    SSL_CTX_free(ends.ctx);
    close(ends.fd);
    if (ends.other >= 0) close(ends.other);
    CHECK_INT(ERR_peek_error(), 0);
}

/* What the client sent is the server's. Writes that came; with SOCK_SEQPACKET each is one. */
static int carry(void) {
    static char buffer[512 * 1024];
    int count = 0;
    ssize_t n;

    while ((n = recv(ends.other, buffer, sizeof buffer, 0)) > 0) {
        CHECK_INT(BIO_write(ends.in, buffer, (int)n), n);
        count++;
    }
    return count;
}

/* What the server has to send next, at most size bytes of it. */
static size_t next_piece(char *piece, size_t size) {
    int n = BIO_read(ends.out, piece, (int)size);

    return n > 0 ? (size_t)n : 0;
}

/* The handshake, in pieces of that size. */
static bool shake_hands(size_t size) {
    enum stores__tls_shaken shaken = stores__tls_shake(ends.tls);
    char piece[16 * 1024];
    size_t len;
    int rounds;

    for (rounds = 0; rounds < 20; rounds++) {
        CHECK(stores__tls_write(ends.tls, NULL, ends.fd) >= 0);
        carry();
        SSL_do_handshake(ends.ssl);
        if (shaken == STORES__TLS_DONE) break;
        while (shaken == STORES__TLS_MORE && (len = next_piece(piece, size)) > 0) {
            stores__tls_give(ends.tls, piece, len);
            shaken = stores__tls_shake(ends.tls);
        }
        if (shaken == STORES__TLS_FAILED) return false;
    }
    ERR_clear_error();
    return shaken == STORES__TLS_DONE && SSL_is_init_finished(ends.ssl);
}

/* What the client reads of all that the server has to send, in pieces of that size; its length. */
static size_t read_all(size_t size, char *out) {
    char piece[16 * 1024];
    size_t len, total = 0;
    const char *data;
    ssize_t n = 0;

    while (n >= 0 && (len = next_piece(piece, size)) > 0) {
        stores__tls_give(ends.tls, piece, len);
        while ((n = stores__tls_read(ends.tls, &data)) > 0) {
            memcpy(out + total, data, (size_t)n);
            total += (size_t)n;
        }
    }
    CHECK_INT(n, 0);
    return total;
}

static char big[1024 * 1024], got[1024 * 1024 + 1];

static void fill_big(void) {
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)('a' + i % 23);
}

static bool add(struct stores__redis_out *out, const char *value, size_t len) {
    const char *argv[2] = {"ECHO", value};
    size_t lens[2] = {4, len};

    return stores__redis_out_command(out, 2, argv, lens, 0, NULL, NULL, NULL);
}

/* ---- In pieces ------------------------------------------------------------------------------ */

static void test_pieces(void) {
    static const size_t sizes[] = {1, 5, 7, 1000, 16 * 1024};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make_ends("localhost", SOCK_STREAM);
        CHECK(!stores__tls_heard(ends.tls));
        CHECK(shake_hands(sizes[i]));
        CHECK(stores__tls_heard(ends.tls));
        CHECK_STR(SSL_get_servername(ends.ssl, TLSEXT_NAMETYPE_host_name), "localhost");
        CHECK(SSL_version(ends.ssl) >= TLS1_2_VERSION);
        CHECK_INT(read_all(sizes[i], got), 0); /* tickets */
        CHECK_INT(SSL_write(ends.ssl, big, 40000), 40000);
        CHECK_INT(SSL_write(ends.ssl, big, 3), 3);
        CHECK_INT(read_all(sizes[i], got), 40003);
        CHECK(memcmp(got, big, 40000) == 0 && memcmp(got + 40000, big, 3) == 0);
        free_ends();
    }
}

/* An address is no name: it is checked, and not sent. */
static void test_address(void) {
    make_ends("127.0.0.1", SOCK_STREAM);
    CHECK(shake_hands(1000));
    CHECK(SSL_get_servername(ends.ssl, TLSEXT_NAMETYPE_host_name) == NULL);
    free_ends();
    make_ends("127.0.0.2", SOCK_STREAM);
    CHECK(!shake_hands(1000));
    CHECK(strstr(stores__tls_why(ends.tls), "is for DNS:localhost, IP Address:127.0.0.1, and not "
                                            "for '127.0.0.2'") != NULL);
    free_ends();
    make_ends("localhost.", SOCK_STREAM);
    CHECK(shake_hands(1000));
    CHECK_STR(SSL_get_servername(ends.ssl, TLSEXT_NAMETYPE_host_name), "localhost");
    free_ends();
}

/* ---- Out ------------------------------------------------------------------------------------ */

static void test_one_write(void) {
    struct stores__redis_out out;
    int i;

    stores__redis_out_init(&out);
    make_ends("localhost", SOCK_SEQPACKET);
    CHECK(shake_hands(1000));
    for (i = 0; i < 100; i++) CHECK(add(&out, "many", 4));
    CHECK(stores__tls_write(ends.tls, &out, ends.fd) > 0);
    CHECK_INT(out.unsent, 0);
    CHECK_INT(carry(), 1);
    /* of several chunks, and of several records */
    for (i = 0; i < 3; i++) CHECK(add(&out, big, 40000));
    CHECK(stores__tls_write(ends.tls, &out, ends.fd) > 120000);
    CHECK_INT(out.unsent, 0);
    CHECK_INT(carry(), 1);
    CHECK(SSL_read(ends.ssl, got, 1000) > 0);
    CHECK(memcmp(got, "*2\r\n$4\r\nECHO\r\n$4\r\nmany\r\n", 24) == 0);
    stores__redis_out_clear(&out);
    free_ends();
}

/* A socket that takes little at once: what is encrypted before it can go stays small. */
static void test_blocked(void) {
    struct stores__redis_out out;
    size_t total = 0, most = 0;
    int n, same = 1, turns = 0, small = 8 * 1024;

    stores__redis_out_init(&out);
    make_ends("localhost", SOCK_STREAM);
    setsockopt(ends.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    CHECK(shake_hands(1000));
    for (int i = 0; i < 4; i++) CHECK(add(&out, big, sizeof big));
    CHECK(stores__tls_write(ends.tls, &out, ends.fd) < 1024 * 1024);
    CHECK(out.unsent > 3 * 1024 * 1024);
    while (out.unsent + stores__tls_unsent(ends.tls) > 0 && turns++ < 100000) {
        if (stores__tls_unsent(ends.tls) > most) most = stores__tls_unsent(ends.tls);
        carry();
        while ((n = SSL_read(ends.ssl, got, sizeof got)) > 0) total += (size_t)n;
        CHECK(stores__tls_write(ends.tls, &out, ends.fd) >= 0);
    }
    carry();
    while ((n = SSL_read(ends.ssl, got, sizeof got)) > 0) {
        total += (size_t)n;
        same = memcmp(got + n - 2, "\r\n", 2) == 0;
    }
    CHECK(same);
    CHECK_INT(total, 4 * (sizeof big + 4 + 10 + 10 + 2)); /* *2 $4 ECHO $1048576 ... */
    CHECK(most > 0 && most < 600 * 1024);
    ERR_clear_error();
    stores__redis_out_clear(&out);
    free_ends();
}

/* Nobody reads any more: an error, and no signal. */
static void test_gone(void) {
    struct stores__redis_out out;

    stores__redis_out_init(&out);
    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    close(ends.other);
    ends.other = -1;
    CHECK(add(&out, "x", 1));
    CHECK_INT(stores__tls_write(ends.tls, &out, ends.fd), -1);
    CHECK_INT(errno, EPIPE);
    stores__tls_leave(ends.tls, ends.fd);
    stores__redis_out_clear(&out);
    free_ends();
}

/* ---- What else may come --------------------------------------------------------------------- */

static void test_new_keys(void) {
    struct stores__redis_out out;
    int i;

    stores__redis_out_init(&out);
    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    CHECK_INT(SSL_version(ends.ssl), TLS1_3_VERSION);
    read_all(1000, got);
    for (i = 0; i < 3; i++) {
        CHECK_INT(SSL_key_update(ends.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        CHECK_INT(SSL_write(ends.ssl, big, 100), 100);
        CHECK_INT(read_all(1, got), 100);
        CHECK(add(&out, "x", 1));
        CHECK(stores__tls_write(ends.tls, &out, ends.fd) > 0);
        carry();
        CHECK_INT(SSL_read(ends.ssl, got, 100), 21);
        CHECK(memcmp(got, "*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n", 21) == 0);
    }
    stores__redis_out_clear(&out);
    free_ends();
}

static void test_goodbyes(void) {
    const char *data;
    char piece[1000];
    size_t len;

    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    stores__tls_leave(ends.tls, ends.fd);
    carry();
    CHECK_INT(SSL_read(ends.ssl, got, 1), 0);
    CHECK_INT(SSL_get_shutdown(ends.ssl), SSL_RECEIVED_SHUTDOWN);
    free_ends();

    /* who frees says nothing: it may be a child of a fork */
    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    carry();
    stores__tls_free(ends.tls);
    ends.tls = NULL;
    CHECK_INT(carry(), 0);
    free_ends();

    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    read_all(1000, got);
    CHECK_INT(SSL_write(ends.ssl, "last", 4), 4);
    SSL_shutdown(ends.ssl);
    len = next_piece(piece, sizeof piece);
    stores__tls_give(ends.tls, piece, len);
    CHECK_INT(stores__tls_read(ends.tls, &data), 4); /* what it said before counts */
    CHECK_INT(stores__tls_read(ends.tls, &data), -1);
    CHECK_STR(stores__tls_why(ends.tls), "the server closed the connection");
    CHECK_INT(stores__tls_read(ends.tls, &data), -1);
    free_ends();
}

static void test_garbled(void) {
    const char *data;
    char piece[1000];
    size_t len;

    make_ends("localhost", SOCK_STREAM);
    CHECK(shake_hands(1000));
    read_all(1000, got);
    CHECK_INT(SSL_write(ends.ssl, "text", 4), 4);
    len = next_piece(piece, sizeof piece);
    piece[len - 3] ^= 1;
    stores__tls_give(ends.tls, piece, len);
    CHECK_INT(stores__tls_read(ends.tls, &data), -1);
    CHECK(strstr(stores__tls_why(ends.tls), "TLS failed: ") != NULL);
    free_ends();

    make_ends("localhost", SOCK_STREAM);
    CHECK_INT(stores__tls_shake(ends.tls), STORES__TLS_MORE);
    stores__tls_give(ends.tls, "-ERR unknown command\r\n", 22);
    CHECK_INT(stores__tls_shake(ends.tls), STORES__TLS_FAILED);
    CHECK_STR(stores__tls_why(ends.tls), "the server does not speak TLS on this port");
    free_ends();
}

/* Errors that somebody else left in the queue of this thread are not those of the connection. */
static void test_left_errors(void) {
    const char *data;
    char piece[1000];
    size_t len;

    make_ends("localhost", SOCK_STREAM);
    ERR_put_error(ERR_LIB_USER, 0, 1, __FILE__, __LINE__);
    CHECK(shake_hands(1000));
    CHECK_INT(SSL_write(ends.ssl, "text", 4), 4);
    while ((len = next_piece(piece, sizeof piece)) > 0) {
        ERR_put_error(ERR_LIB_USER, 0, 1, __FILE__, __LINE__);
        stores__tls_give(ends.tls, piece, len / 2);
        while (stores__tls_read(ends.tls, &data) > 0) {
        }
        ERR_put_error(ERR_LIB_USER, 0, 1, __FILE__, __LINE__);
        stores__tls_give(ends.tls, piece + len / 2, len - len / 2);
        while (stores__tls_read(ends.tls, &data) > 0) {
        }
    }
    CHECK_STR(stores__tls_why(ends.tls), "");
    ERR_clear_error();
    free_ends();
}

int main(void) {
    begin();
    make_certificate();
    fill_big();
    test_pieces();
    test_address();
    test_one_write();
    test_blocked();
    test_gone();
    test_new_keys();
    test_goodbyes();
    test_garbled();
    test_left_errors();
    remove_certificate();
    end();
    return check_report();
}
