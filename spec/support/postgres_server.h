/*
 * postgres_server.h - a database of a spec's own: on the server of the test run
 * (STORES_TEST_PGHOST), or on a server that is started for it and dies with the program.
 */
#ifndef STORES_POSTGRES_SERVER_H
#define STORES_POSTGRES_SERVER_H

#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    pid_t pid; /* 0: the server is not ours */
    char folder[64], host[256], database[32];
    PGconn *conn; /* of sql() */
} postgres;

static inline PGconn *postgres_connect(const char *database) {
    const char *keys[] = {"host", "port", "user", "dbname", "options", NULL};
    const char *values[] = {
        postgres.host, "5432", "postgres", database, "-c client_min_messages=warning", NULL};
    return PQconnectdbParams(keys, values, 0);
}

/* Statements on a connection outside of Stores. The first value of the last one, in
 * memory that the next call uses again; "" where there is none. */
static inline const char *sql(const char *text) {
    static char value[256];
    if (postgres.conn == NULL) postgres.conn = postgres_connect(postgres.database);
    PGresult *result = PQexec(postgres.conn, text);
    ExecStatusType status = PQresultStatus(result);
    value[0] = '\0';
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        printf("%s: %s\n", text, PQerrorMessage(postgres.conn));
    } else if (PQntuples(result) > 0) {
        snprintf(value, sizeof value, "%s", PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return value;
}

/* In the child: PostgreSQL refuses to run as root. */
static inline void postgres_user(void) {
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) _exit(127);
    if (freopen("/dev/null", "w", stdout) == NULL) _exit(127);
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(127);
}

static inline bool postgres_program(const char *name, char *path, size_t size) {
    FILE *pipe = popen("pg_config --bindir", "r");
    char folder[256] = "";
    if (pipe == NULL) return false;
    if (fgets(folder, sizeof folder, pipe) == NULL) folder[0] = '\0';
    pclose(pipe);
    folder[strcspn(folder, "\n")] = '\0';
    snprintf(path, size, "%s/%s", folder, name);
    return access(path, X_OK) == 0;
}

static inline bool postgres_start(void) {
    char initdb[300], server[300], data[96];
    int status = 0;
    strcpy(postgres.folder, "/tmp/stores-unit-XXXXXX");
    if (!mkdtemp(postgres.folder) || !postgres_program("initdb", initdb, sizeof initdb) ||
        !postgres_program("postgres", server, sizeof server)) {
        printf("there is no PostgreSQL server to start\n");
        return false;
    }
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && chown(postgres.folder, user->pw_uid, user->pw_gid) != 0) return false;
    snprintf(postgres.host, sizeof postgres.host, "%s", postgres.folder);
    snprintf(data, sizeof data, "%s/data", postgres.folder);
    pid_t child = fork();
    if (child == 0) {
        postgres_user();
        execl(initdb, "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8",
              "--locale=C", "--no-sync", (char *)NULL);
        _exit(127);
    }
    waitpid(child, &status, 0);
    if (status != 0) {
        printf("initdb failed\n");
        return false;
    }
    postgres.pid = fork();
    if (postgres.pid == 0) {
        postgres_user();
        prctl(PR_SET_PDEATHSIG, SIGQUIT);
        execl(server, "postgres", "-D", data, "-k", postgres.folder, "-c",
              "listen_addresses=", "-c", "fsync=off", (char *)NULL);
        _exit(127);
    }
    return true;
}

static inline bool postgres_open(void) {
    const char *host = getenv("STORES_TEST_PGHOST");
    char text[80];
    if (host != NULL) {
        snprintf(postgres.host, sizeof postgres.host, "%s", host);
    } else if (!postgres_start()) {
        return false;
    }
    snprintf(postgres.database, sizeof postgres.database, "unit_%d", (int)getpid());
    snprintf(text, sizeof text, "CREATE DATABASE %s", postgres.database);
    for (int tries = 0; tries < 300; tries++, usleep(100000)) {
        PGconn *conn = postgres_connect("postgres");
        bool up = PQstatus(conn) == CONNECTION_OK;
        bool made = false;
        if (up) {
            PGresult *result = PQexec(conn, text);
            made = PQresultStatus(result) == PGRES_COMMAND_OK;
            if (!made) printf("%s", PQerrorMessage(conn));
            PQclear(result);
        }
        PQfinish(conn);
        if (up) return made;
    }
    printf("the PostgreSQL server does not start\n");
    return false;
}

static inline void postgres_close(void) {
    char text[120];
    PQfinish(postgres.conn);
    postgres.conn = NULL;
    if (postgres.pid > 0) {
        kill(postgres.pid, SIGQUIT);
        waitpid(postgres.pid, NULL, 0);
        snprintf(text, sizeof text, "rm -rf %s", postgres.folder);
        if (system(text) != 0) printf("%s is left behind\n", postgres.folder);
        return;
    }
    snprintf(text, sizeof text, "DROP DATABASE %s WITH (FORCE)", postgres.database);
    PGconn *conn = postgres_connect("postgres");
    PQclear(PQexec(conn, text));
    PQfinish(conn);
}

#endif
