/* hosts.c - see hosts.h. */
#include "pg/hosts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

#include "pg/sources.h"

/* No name but localhost: 127.example is somebody's, and so may be what it resolves to. */
static bool is_local(const char *host) {
    struct in_addr address;
    if (host[0] == '\0' || host[0] == '/' || host[0] == '@') return true;
    if (inet_pton(AF_INET, host, &address) == 1) return (ntohl(address.s_addr) >> 24) == 127;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

/* The i-th element of a comma list; the last one stands for all after it where it is alone. */
static char *element(const char *list, int index, bool repeat_single) {
    const char *start = list;
    if (repeat_single && strchr(list, ',') == NULL) index = 0;
    for (; index > 0; index--) {
        start = strchr(start, ',');
        if (start == NULL) return stores__strdup("");
        start++;
    }
    return stores__memdup(start, strcspn(start, ","));
}

static bool are_ports(const char *list) {
    for (const char *at = list;; at++) {
        char *end;
        size_t len = strcspn(at, ",");
        long port = strtol(at, &end, 10);
        if (len > 0 && (end != at + len || port < 1 || port > 65535)) return false;
        at += len;
        if (*at == '\0') return true;
    }
}

/* The file of a socket in its folder. */
static bool has_room(const char *folder, const char *port) {
    struct sockaddr_un address;
    int len = snprintf(NULL, 0, "%s/.s.PGSQL.%s", folder, port[0] != '\0' ? port : "5432");
    return folder[0] != '/' || (size_t)len < sizeof address.sun_path;
}

bool stores__pg_hosts_read(struct stores__pg_params *params, const char *hosts, const char *ports,
                           stores_error *error) {
    const char *addresses = params->fixed_hostaddr;
    int count = 1;
    for (const char *c = addresses ? addresses : hosts; *c; c++) count += *c == ',';
    if (!are_ports(ports)) {
        /* the text may be a piece of a password that was not escaped in a url */
        stores__error_set(error, STORES_INVALID_OPTION,
                          "the port of PostgreSQL must be a whole number from 1 to 65535");
        return false;
    }
    params->hosts = calloc((size_t)count, sizeof *params->hosts);
    if (params->hosts == NULL) return stores__pg_no_keywords(error);
    for (int i = 0; i < count; i++) {
        struct stores__pg_host *host = &params->hosts[i];
        char *address = addresses ? element(addresses, i, false) : NULL;
        host->name = element(hosts, i, false);
        host->port = element(ports, i, true);
        params->host_count = i + 1;
        bool ok = host->name != NULL && host->port != NULL && (!addresses || address != NULL);
        if (ok) host->local = is_local(address && address[0] ? address : host->name);
        free(address);
        if (!ok) return stores__pg_no_keywords(error);
        if (!has_room(host->name, host->port)) {
            stores__error_set(error, STORES_INVALID_OPTION,
                              "the folder of PostgreSQL's socket has a path that is too long: the "
                              "system takes %zu bytes with the name of the socket",
                              sizeof(struct sockaddr_un) - offsetof(struct sockaddr_un, sun_path) -
                                  1);
            return false;
        }
    }
    return true;
}

bool stores__pg_hosts_are_sockets(const char *hosts) {
    for (const char *at = hosts;; at++) {
        if (*at != '/' && *at != '@') return false;
        at += strcspn(at, ",");
        if (*at == '\0') return true;
    }
}

bool stores__pg_hosts_all_local(const struct stores__pg_params *params) {
    for (int i = 0; i < params->host_count; i++) {
        if (!params->hosts[i].local) return false;
    }
    return true;
}

void stores__pg_hosts_free(struct stores__pg_params *params) {
    for (int i = 0; i < params->host_count; i++) {
        free(params->hosts[i].name);
        free(params->hosts[i].port);
    }
    free(params->hosts);
}
