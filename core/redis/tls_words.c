/* tls_words.c - what is wrong, and with which certificate, for a human. */
#include <stdio.h>

#include "redis/tls_internal.h"

#define NAME_MAX_LEN 72
#define NAMES_MAX_LEN 104

const char *stores__tls_reason(void) {
    unsigned long code = ERR_peek_last_error();
    const char *reason;

    if (code == 0) return "memory ran out";
    if (ERR_GET_LIB(code) == ERR_LIB_SYS) return strerror(ERR_GET_REASON(code));
    reason = ERR_reason_error_string(code);
    return reason ? reason : "OpenSSL does not say why";
}

/* ---- Certificates --------------------------------------------------------------------------- */

/* Takes what was printed, as much as there is room for, and frees the bio. */
static void take_text(BIO *bio, char *out, size_t size) {
    char *text = NULL;
    long len = bio ? BIO_get_mem_data(bio, &text) : 0;

    if (len < 0) len = 0;
    if ((size_t)len > size - 1) len = (long)size - 1;
    if (len > 0) memcpy(out, text, (size_t)len);
    out[len] = '\0';
    BIO_free(bio);
}

static void name_of(const X509_NAME *name, char out[NAME_MAX_LEN]) {
    BIO *bio = BIO_new(BIO_s_mem());

    if (bio) X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE);
    take_text(bio, out, NAME_MAX_LEN);
}

static void time_of(const ASN1_TIME *when, char out[40]) {
    BIO *bio = BIO_new(BIO_s_mem());

    if (bio) ASN1_TIME_print(bio, when);
    take_text(bio, out, 40);
}

/* For whom it is: DNS:localhost, IP Address:127.0.0.1 */
static void names_of(const X509 *cert, char out[NAMES_MAX_LEN]) {
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    int i;

    for (i = 0; bio && i < sk_GENERAL_NAME_num(names); i++) {
        if (i > 0) BIO_puts(bio, ", ");
        GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i));
    }
    GENERAL_NAMES_free(names);
    take_text(bio, out, NAMES_MAX_LEN);
}

/* 'CN = redis', issued by 'CN = an authority' */
static void describe(const X509 *cert, char *out, size_t size) {
    char subject[NAME_MAX_LEN], issuer[NAME_MAX_LEN];

    name_of(X509_get_subject_name(cert), subject);
    name_of(X509_get_issuer_name(cert), issuer);
    snprintf(out, size, "'%s', issued by '%s',", subject, issuer);
}

static void mismatch(const struct stores__tls *tls, const X509 *cert, char *out, size_t size) {
    char names[NAMES_MAX_LEN];

    names_of(cert, names);
    if (names[0]) {
        snprintf(out, size, "is for %s, and not for '%.80s'", names, tls->host);
    } else {
        snprintf(out, size, "has no subjectAltName, and is not for '%.80s'", tls->host);
    }
}

/* Whether the error says that the authority is not known. */
static bool is_of_nobody(int error) {
    return error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
           error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
           error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN;
}

static void wrong_with(const struct stores__tls *tls, const X509 *cert, int error, char *out,
                       size_t size) {
    char when[40];

    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_of(X509_get0_notAfter(cert), when);
        snprintf(out, size, "has expired: it was valid until %s", when);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_of(X509_get0_notBefore(cert), when);
        snprintf(out, size, "is not valid yet, but from %s", when);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: mismatch(tls, cert, out, size); break;
    default:
        if (is_of_nobody(error)) {
            snprintf(out, size, "is of no authority of %s: %s", tls->trusted,
                     X509_verify_cert_error_string(error));
        } else {
            snprintf(out, size, "is not valid: %s", X509_verify_cert_error_string(error));
        }
    }
}

void stores__tls_blame(struct stores__tls *tls, X509_STORE_CTX *store) {
    int error = X509_STORE_CTX_get_error(store);
    /* what leads to no authority is the server's own, whatever follows it */
    X509 *cert = is_of_nobody(error) ? X509_STORE_CTX_get0_cert(store)
                                     : X509_STORE_CTX_get_current_cert(store);
    char which[2 * NAME_MAX_LEN + 32], what[224];

    if (!cert) {
        snprintf(tls->why, sizeof tls->why, "the server's certificate is not valid: %s",
                 X509_verify_cert_error_string(error));
        return;
    }
    describe(cert, which, sizeof which);
    wrong_with(tls, cert, error, what, sizeof what);
    snprintf(tls->why, sizeof tls->why, "the certificate %s %s", which, what);
}

/* ---- Alerts and the rest -------------------------------------------------------------------- */

/* The server ended it, and says why. */
static void explain_alert(struct stores__tls *tls, int alert) {
    const char *said = SSL_alert_desc_string_long(alert);
    X509 *own = SSL_get_certificate(tls->ssl);
    char which[2 * NAME_MAX_LEN + 32], until[40];

    if (alert == SSL_AD_PROTOCOL_VERSION) {
        snprintf(tls->why, sizeof tls->why, "the server has no TLS of version 1.2 or later: %s",
                 said);
    } else if (!tls->cert_wanted) {
        snprintf(tls->why, sizeof tls->why, "the server ended TLS: %s", said);
    } else if (!own) {
        snprintf(tls->why, sizeof tls->why,
                 "the server wants a certificate of its client (cert and key), and none is given: "
                 "%s",
                 said);
    } else {
        describe(own, which, sizeof which);
        time_of(X509_get0_notAfter(own), until);
        snprintf(tls->why, sizeof tls->why,
                 "the server ended TLS, of whose client the certificate is %s valid until %s: %s",
                 which, until, said);
    }
}

void stores__tls_explain(struct stores__tls *tls) {
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);

    if (tls->why[0] != '\0') {
        /* a certificate was blamed */
    } else if (ERR_GET_LIB(code) != ERR_LIB_SSL) {
        snprintf(tls->why, sizeof tls->why, "TLS failed: %s", stores__tls_reason());
    } else if (reason > SSL_AD_REASON_OFFSET) {
        explain_alert(tls, reason - SSL_AD_REASON_OFFSET);
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER) {
        snprintf(tls->why, sizeof tls->why, "the server does not speak TLS on this port");
    } else if (reason == SSL_R_UNSUPPORTED_PROTOCOL) {
        snprintf(tls->why, sizeof tls->why, "the server has no TLS of version 1.2 or later");
    } else {
        snprintf(tls->why, sizeof tls->why, "TLS failed: %s", stores__tls_reason());
    }
    ERR_clear_error();
}
