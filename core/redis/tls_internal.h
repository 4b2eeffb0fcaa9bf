/*
 * tls_internal.h - TLS as its own files see it, each of which calls those below it alone:
 *
 *     tls.c           one connection
 *     tls_context.c   the files that were named, as OpenSSL has them
 *     tls_words.c     what is wrong, and with which certificate
 */
#ifndef STORES_REDIS_TLS_INTERNAL_H
#define STORES_REDIS_TLS_INTERNAL_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "redis/tls.h"

struct stores__tls {
    SSL *ssl;
    char host[256]; /* that the certificate has to be for */
    char trusted[96]; /* where the authorities are, for words */
    const char *in; /* what was given and not taken yet */
    size_t in_len;
    char *cipher; /* what is encrypted: cipher_len bytes, of which cipher_sent were sent */
    size_t cipher_len, cipher_sent, cipher_cap;
    bool heard;
    bool read; /* a record, of what was given */
    bool cert_wanted; /* the server asked for a certificate of ours */
    bool over; /* something went wrong: nothing more may be said */
    char why[STORES__TLS_WHY];
    char plain[SSL3_RT_MAX_PLAIN_LENGTH]; /* one record */
};

/* ---- tls_context.c -------------------------------------------------------------------------- */

/* The context of OpenSSL, owned by the context, until the next call. NULL: why says why. */
SSL_CTX *stores__tls_context_get(struct stores__tls_context *context, char *why, size_t why_size);

/* ---- tls_words.c ---------------------------------------------------------------------------- */

/* What OpenSSL says of a file, in its words. */
const char *stores__tls_reason(void);
/* Sets why, for what is wrong with a certificate of the server's. */
void stores__tls_blame(struct stores__tls *tls, X509_STORE_CTX *store);
/* Sets why, where nobody has, from the errors of OpenSSL, and forgets these. */
void stores__tls_explain(struct stores__tls *tls);

#endif
