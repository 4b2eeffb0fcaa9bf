/*
 * certificate.h - a certificate of localhost that vouches for itself, for specs of TLS in C.
 */
#ifndef STORES_CERTIFICATE_H
#define STORES_CERTIFICATE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "redis_server.h"

static char cert_file[128], key_file[128];

static inline void make_certificate(void) {
    char command[512];

    snprintf(cert_file, sizeof cert_file, "%s/cert.pem", server.folder);
    snprintf(key_file, sizeof key_file, "%s/key.pem", server.folder);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout "
             "%s -out %s -subj /CN=redis -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
             "2>/dev/null",
             key_file, cert_file);
    CHECK_INT(system(command), 0);
}

static inline void remove_certificate(void) {
    unlink(cert_file);
    unlink(key_file);
}

#endif
