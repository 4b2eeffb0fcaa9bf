/* url.c - see url.h. */
#include "pg/url.h"

#include <ctype.h>
#include <stdio.h>

/* What other clients take in a url, and where it goes here. */
static const struct {
    const char *name, *hint;
} foreign[] = {
    {"schema", "a schema is chosen by options=-c%20search_path%3Dname"},
    {"currentSchema", "a schema is chosen by options=-c%20search_path%3Dname"},
    {"search_path", "it is a setting of the session: options=-c%20search_path%3Dname"},
    {"statement_timeout", "'statement_timeout' goes in db, in seconds"},
    {"pgbouncer", "pooler = 'transaction' in db says that a PgBouncer stands in between"},
    {"pool_max", "'poolsize' goes in db"},
    {"pool_size", "'poolsize' goes in db"},
    {"poolsize", "'poolsize' goes in db"},
    {"max", "'poolsize' goes in db"},
    {"connection_limit", "'poolsize' goes in db"},
    {"pool_timeout", "'acquire_timeout' goes in db"},
    {"charset", "documents are UTF-8"},
    {"encoding", "documents are UTF-8"},
};

/* The parts of a url, which point into it: scheme://authority/path?query. */
struct parts {
    const char *authority, *path, *query; /* path and query without the character before them */
    size_t authority_len, path_len;
};

static struct parts split(const char *url) {
    struct parts parts = {.authority = "", .path = "", .query = ""};
    const char *at = strstr(url, "://");
    if (at == NULL) return parts;
    parts.authority = at + 3;
    parts.authority_len = strcspn(parts.authority, "/?");
    at = parts.authority + parts.authority_len;
    if (*at == '/') {
        parts.path = at + 1;
        parts.path_len = strcspn(parts.path, "?");
        at = parts.path + parts.path_len;
    }
    if (*at == '?') parts.query = at + 1;
    return parts;
}

static bool has_at(const char *text, size_t len) {
    return memchr(text, '@', len) != NULL;
}

static bool is_escaped(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '%') continue;
        bool fine = i + 2 < len && isxdigit((unsigned char)text[i + 1]) &&
                    isxdigit((unsigned char)text[i + 2]) &&
                    (text[i + 1] != '0' || text[i + 2] != '0');
        if (!fine) return false;
    }
    return true;
}

static void refuse(stores_error *error, const char *why, const char *part) {
    stores__error_set(error, STORES_INVALID_OPTION, "the url of PostgreSQL: %s%s", why, part);
}

/* A name that can be shown: what looks like none may be a piece of a password. */
static bool is_name(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-') return false;
    }
    return len > 0 && len <= 40;
}

static bool is_keyword(const char *name, size_t len) {
    bool known = len == 3 && memcmp(name, "ssl", 3) == 0; /* libpq takes ssl=true, as JDBC has it */
    PQconninfoOption *options = PQconndefaults();
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        known = known || (strncmp(o->keyword, name, len) == 0 && o->keyword[len] == '\0');
    }
    PQconninfoFree(options);
    return known;
}

/* What is wrong with one name=value. False: nothing. */
static bool blame_parameter(const char *text, size_t len, stores_error *error) {
    const char *equals = memchr(text, '=', len);
    size_t name = equals ? (size_t)(equals - text) : len;
    char shown[64] = "a parameter";
    if (is_name(text, name)) snprintf(shown, sizeof shown, "the parameter '%.*s'", (int)name, text);
    if (equals == NULL) {
        refuse(error, shown, " has no value");
    } else if (memchr(equals + 1, '=', len - name - 1) != NULL) {
        refuse(error, shown, " holds a second '=', which is written %3D");
    } else if (!is_escaped(text, len)) {
        refuse(error, shown, " holds a '%' that is no escape: write %25");
    } else if (!is_keyword(text, name)) {
        refuse(error, shown, " is unknown to libpq");
        for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
            bool same = strlen(foreign[i].name) == name &&
                        strncmp(foreign[i].name, text, name) == 0;
            if (same) strcpy(error->hint, foreign[i].hint);
        }
    } else {
        return false;
    }
    return true;
}

/* Why libpq does not read it. */
static void blame(const char *url, stores_error *error) {
    struct parts parts = split(url);
    refuse(error, "it cannot be read", "");
    if (!is_escaped(parts.authority, parts.authority_len)) {
        refuse(error, "a '%' in user, password or host is no escape: write %25", "");
    } else if (!is_escaped(parts.path, parts.path_len)) {
        refuse(error, "a '%' in the name of the database is no escape: write %25", "");
    }
    /* with an @ in it, the query may be the rest of a password */
    if (strchr(parts.query, '@') != NULL && !has_at(parts.authority, parts.authority_len)) return;
    for (const char *at = parts.query; *at != '\0';) {
        size_t len = strcspn(at, "&");
        if (blame_parameter(at, len, error)) return;
        at += len + (at[len] == '&');
    }
}

/* libpq reads a url whose password holds what parts a url, but otherwise than it was meant: then
 * the password's end is a host, or a database, which messages would name. */
static bool is_torn(const char *url, stores_error *error) {
    struct parts parts = split(url);
    size_t len = parts.authority_len;
    const char *first = memchr(parts.authority, '@', len);
    if (first != NULL && has_at(first + 1, len - (size_t)(first + 1 - parts.authority))) {
        refuse(error, "an '@' in user or password is written %40", "");
    } else if (first == NULL && len > 0 && has_at(parts.path, parts.path_len)) {
        refuse(error, "a '/' in user or password is written %2F, an '@' behind the host %40", "");
    } else {
        return false;
    }
    return true;
}

PQconninfoOption *stores__pg_url_parse(const char *url, stores_error *error) {
    char *why = NULL;
    if (is_torn(url, error)) return NULL;
    PQconninfoOption *options = PQconninfoParse(url, &why);
    PQfreemem(why);
    if (options == NULL) blame(url, error);
    return options;
}
