/*
 * redis_server.h - a redis-server of a spec's own, on a unix socket in a folder of its own and on a
 * free port of the loopback address. It dies with the program that started it.
 */
#ifndef STORES_REDIS_SERVER_H
#define STORES_REDIS_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    pid_t pid;
    int port;
    char folder[64], socket[96];
    const char *more[16]; /* options of every start, and their values; ended by NULL */
} server;

static inline int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, size) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &size) == 0) {
        port = ntohs(address.sin_port);
    }
    close(fd);
    return port;
}

static inline bool server_answers(void) {
    redisContext *context = redisConnectUnix(server.socket);
    bool answers = context && !context->err;

    if (context) redisFree(context);
    return answers;
}

/* One option may be given, or "" and "". Returns when the server answers. */
static inline bool server_start(const char *option, const char *value) {
    int tries, i;
    char port[16];
    const char *words[40] = {"redis-server",
                             "--unixsocket",
                             server.socket,
                             "--port",
                             port,
                             "--bind",
                             "127.0.0.1",
                             "--dir",
                             server.folder,
                             "--save",
                             "",
                             "--appendonly",
                             "no"};
    size_t count = 13;

    snprintf(port, sizeof port, "%d", server.port);
    unlink(server.socket);
    server.pid = fork();
    if (server.pid == 0) {
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (i = 0; server.more[i]; i++) words[count++] = server.more[i];
        if (option[0]) words[count++] = option;
        if (option[0]) words[count++] = value;
        execvp(words[0], (char **)words);
        _exit(127);
    }
    for (tries = 0; tries < 500; tries++) {
        if (server_answers()) return true;
        usleep(10000);
    }
    printf("redis-server does not start\n");
    return false;
}

static inline void server_freeze(void) {
    int status;

    kill(server.pid, SIGSTOP);
    waitpid(server.pid, &status, WUNTRACED);
}

static inline void server_thaw(void) {
    kill(server.pid, SIGCONT);
}

static inline void server_kill(void) {
    if (server.pid <= 0) return;
    kill(server.pid, SIGKILL);
    waitpid(server.pid, NULL, 0);
    server.pid = 0;
}

/* A command of three words, on a connection of its own, waited for. */
static inline void server_command(const char *a, const char *b, const char *c) {
    redisContext *context = redisConnectUnix(server.socket);

    if (context && !context->err) freeReplyObject(redisCommand(context, "%s %s %s", a, b, c));
    if (context) redisFree(context);
}

static inline bool server_open(void) {
    strcpy(server.folder, "/tmp/stores-unit-XXXXXX");
    if (!mkdtemp(server.folder)) return false;
    snprintf(server.socket, sizeof server.socket, "%s/redis.sock", server.folder);
    server.port = free_port();
    return server_start("", "");
}

static inline void server_close(void) {
    server_kill();
    unlink(server.socket);
    rmdir(server.folder);
}

#endif
