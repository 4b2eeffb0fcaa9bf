/* place.c - see place.h. */
#include "base/place.h"

#include <stdio.h>

bool stores__port_read(const char *digits, int *port) {
    size_t len = strspn(digits, "0123456789");
    if (len == 0 || len > 5 || digits[len] != '\0') return false;
    int value = atoi(digits);
    if (value < 1 || value > 65535) return false;
    *port = value;
    return true;
}

bool stores__place_read(const char *text, int default_port, struct stores__place *place) {
    const char *host = text, *end, *after;
    if (text[0] == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL) return false;
        after = end + 1;
    } else {
        const char *colon = strchr(text, ':');
        /* an address that has colons of its own stands there without a port */
        bool bare = colon != NULL && strchr(colon + 1, ':') != NULL;
        end = after = colon == NULL || bare ? text + strlen(text) : colon;
    }
    int port = default_port;
    if (*after == ':') {
        if (!stores__port_read(after + 1, &port)) return false;
    } else if (*after != '\0') {
        return false;
    }
    size_t len = (size_t)(end - host);
    if (len == 0 || len >= sizeof place->host || strcspn(host, " \t\r\n/@") < len) return false;
    memcpy(place->host, host, len);
    place->host[len] = '\0';
    place->port = port;
    return true;
}

const char *stores__place_write(const struct stores__place *place, char *out, size_t size) {
    const char *format = strchr(place->host, ':') != NULL ? "[%s]:%d" : "%s:%d";
    snprintf(out, size, format, place->host, place->port);
    return out;
}
