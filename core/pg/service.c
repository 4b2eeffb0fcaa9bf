/* Service files, as libpq's manual describes them in "The Connection Service File". */
#include <ctype.h>
#include <stdio.h>
#include <uv.h>

#include "pg/sources.h"

/* Where packages put the file that serves all users; PGSYSCONFDIR names another folder. */
static const char *const system_folders[] = {"/etc/postgresql-common", "/etc/sysconfig/pgsql",
                                             "/usr/local/pgsql/etc", "/etc"};

static char *trim(char *line) {
    size_t len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1])) line[--len] = '\0';
    while (isspace((unsigned char)*line)) line++;
    return line;
}

/* Looks for [service], and in its lines for key=. True: the service is there, and *says is set. */
static bool look_into(FILE *file, const char *service, const char *key, bool *says) {
    char text[4096];
    bool inside = false;
    size_t name = strlen(service), word = strlen(key);
    while (fgets(text, sizeof text, file) != NULL) {
        const char *line = trim(text);
        if (*line == '[') {
            if (inside) break;
            inside = strncmp(line + 1, service, name) == 0 && line[name + 1] == ']';
        } else if (inside && strncmp(line, key, word) == 0 && line[word] == '=') {
            *says = true;
        }
    }
    return inside;
}

static bool look_at(const char *folder, const char *name, const char *service, const char *key,
                    bool *says) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s%s", folder, name) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    bool found = look_into(file, service, key, says);
    fclose(file);
    return found;
}

bool stores__pg_service_says(const char *service, const char *key) {
    const char *own = getenv("PGSERVICEFILE"), *folder = getenv("PGSYSCONFDIR");
    char home[4096];
    size_t room = sizeof home;
    bool says = false, found = false;
    if (own != NULL) {
        found = look_at(own, "", service, key, &says);
    } else if (uv_os_homedir(home, &room) == 0) {
        found = look_at(home, "/.pg_service.conf", service, key, &says);
    }
    if (!found && folder != NULL) found = look_at(folder, "/pg_service.conf", service, key, &says);
    size_t folders = folder != NULL ? 0 : sizeof system_folders / sizeof *system_folders;
    for (size_t i = 0; !found && i < folders; i++) {
        found = look_at(system_folders[i], "/pg_service.conf", service, key, &says);
    }
    return says;
}
