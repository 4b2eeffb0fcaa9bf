/*
 * tls_context.c - the files that were named, as OpenSSL has them. Looked at for each connection,
 * and read again where one of them is not what it was: authorities and certificates are renewed.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "redis/tls_internal.h"

#define SETTLED_S 2 /* one that was written a moment ago may be written again in the same tick */

/* A file as it was before it was read. */
struct seen {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec written, changed;
};

enum { CA, CERT, KEY, FILES };

struct stores__tls_context {
    stores_tls config; /* its strings are the context's own */
    SSL_CTX *ctx; /* NULL: not made yet */
    bool lasts; /* it is still good where the files are as they were */
    struct seen seen[FILES];
    bool password_wanted;
};

/* ---- Files ---------------------------------------------------------------------------------- */

static const char *path_of(const struct stores__tls_context *context, int file) {
    const stores_tls *config = &context->config;
    const char *elsewhere;

    switch (file) {
    case CA:
        if (config->ca) return config->ca;
        elsewhere = getenv(X509_get_default_cert_file_env());
        return elsewhere ? elsewhere : X509_get_default_cert_file();
    case CERT: return config->cert;
    default: return config->key ? config->key : config->cert;
    }
}

/* False: it cannot be told whether it changes. Certificates of a folder are looked for by name
 * while a handshake runs, and there are systems that have nothing but such a folder. */
static bool look(const char *path, struct seen *seen) {
    struct stat now;

    if (stat(path, &now) != 0 || !S_ISREG(now.st_mode)) return false;
    seen->dev = now.st_dev;
    seen->ino = now.st_ino;
    seen->size = now.st_size;
    seen->written = now.st_mtim;
    seen->changed = now.st_ctim;
    return time(NULL) > now.st_ctim.tv_sec + SETTLED_S;
}

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct seen *a, const struct seen *b) {
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           same_time(a->written, b->written) && same_time(a->changed, b->changed);
}

/* Looks at all of them. True: what was made of them is still good. */
static bool look_at_all(struct stores__tls_context *context) {
    bool good = context->ctx && context->lasts;
    int file;

    context->lasts = true;
    for (file = 0; file < FILES; file++) {
        const char *path = path_of(context, file);
        struct seen now = {0};
        if (!path) continue;
        if (!look(path, &now)) context->lasts = false;
        if (!same(&now, &context->seen[file])) good = false;
        context->seen[file] = now;
    }
    return good;
}

/* ---- What is made of them ------------------------------------------------------------------- */

static bool is_there(const char *what, const char *path, char *why, size_t why_size) {
    FILE *file = fopen(path, "re");

    if (!file) {
        snprintf(why, why_size, "%s '%.150s' cannot be read: %s", what, path, strerror(errno));
        return false;
    }
    fclose(file);
    return true;
}

static bool load_authorities(struct stores__tls_context *context, SSL_CTX *ctx, char *why,
                             size_t why_size) {
    const char *ca = context->config.ca;
    struct stat now;
    bool folder;

    if (!ca) {
        if (SSL_CTX_set_default_verify_paths(ctx) == 1) return true;
        snprintf(why, why_size, "the authorities of the system cannot be read: %s",
                 stores__tls_reason());
        return false;
    }
    if (!is_there("ca", ca, why, why_size)) return false;
    folder = stat(ca, &now) == 0 && S_ISDIR(now.st_mode);
    if (SSL_CTX_load_verify_locations(ctx, folder ? NULL : ca, folder ? ca : NULL) == 1)
        return true;
    snprintf(why, why_size, "ca '%.150s' has no certificate of an authority: %s", ca,
             stores__tls_reason());
    return false;
}

static bool load_own(struct stores__tls_context *context, SSL_CTX *ctx, char *why,
                     size_t why_size) {
    const char *cert = context->config.cert, *key = path_of(context, KEY);
    bool loaded;

    if (!cert) return true;
    if (!is_there("cert", cert, why, why_size) || !is_there("key", key, why, why_size))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1) {
        snprintf(why, why_size, "cert '%.150s' has no certificate: %s", cert, stores__tls_reason());
        return false;
    }
    context->password_wanted = false;
    loaded = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
    if (loaded && SSL_CTX_check_private_key(ctx) == 1) return true;
    if (loaded || ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH) {
        snprintf(why, why_size, "key '%.120s' is not that of cert '%.120s'", key, cert);
    } else if (context->password_wanted) {
        snprintf(why, why_size, "key '%.150s' is encrypted, and there is no password for it", key);
    } else {
        snprintf(why, why_size, "key '%.150s' has no private key: %s", key, stores__tls_reason());
    }
    return false;
}

/* OpenSSL would ask the terminal. */
static int no_password(char *out, int size, int writes, void *arg) {
    struct stores__tls_context *context = arg;

    (void)out, (void)size, (void)writes;
    context->password_wanted = true;
    return -1;
}

static int on_verify(int ok, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

    if (!ok) stores__tls_blame(SSL_get_app_data(ssl), store);
    return ok;
}

static int on_cert_wanted(SSL *ssl, void *arg) {
    struct stores__tls *tls = SSL_get_app_data(ssl);

    (void)arg;
    tls->cert_wanted = true;
    return 1;
}

static SSL_CTX *make(struct stores__tls_context *context, char *why, size_t why_size) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        snprintf(why, why_size, "TLS cannot be used: %s", stores__tls_reason());
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, context);
    SSL_CTX_set_cert_cb(ctx, on_cert_wanted, NULL);
    if (context->config.no_verify) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    } else {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
        if (!load_authorities(context, ctx, why, why_size)) {
            SSL_CTX_free(ctx);
            return NULL;
        }
    }
    if (!load_own(context, ctx, why, why_size)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

SSL_CTX *stores__tls_context_get(struct stores__tls_context *context, char *why, size_t why_size) {
    if (look_at_all(context)) return context->ctx;
    SSL_CTX_free(context->ctx);
    ERR_clear_error();
    context->ctx = make(context, why, why_size);
    ERR_clear_error();
    return context->ctx;
}

const stores_tls *stores__tls_context_config(const struct stores__tls_context *context) {
    return &context->config;
}

/* ---- Its life ------------------------------------------------------------------------------- */

static bool copy(const char **out, const char *text) {
    *out = text ? stores__strdup(text) : NULL;
    return !text || *out;
}

struct stores__tls_context *stores__tls_context_new(const stores_tls *config) {
    struct stores__tls_context *context = calloc(1, sizeof *context);
    stores_tls *own;

    if (!context) return NULL;
    own = &context->config;
    own->no_verify = config->no_verify;
    if (!copy(&own->ca, config->ca) || !copy(&own->cert, config->cert) ||
        !copy(&own->key, config->key) || !copy(&own->server_name, config->server_name)) {
        stores__tls_context_free(context);
        return NULL;
    }
    return context;
}

void stores__tls_context_free(struct stores__tls_context *context) {
    if (!context) return;
    SSL_CTX_free(context->ctx);
    free((char *)context->config.ca);
    free((char *)context->config.cert);
    free((char *)context->config.key);
    free((char *)context->config.server_name);
    free(context);
}
