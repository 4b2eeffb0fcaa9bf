/*
 * greet.c - what a new connection is asked before it counts as up: who it is, and whether it
 * may be used. All in one write; the first refusal ends the attempt.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "redis/internal.h"

enum { HISTORY_AT = 8, HISTORY_LEN = 8 }; /* digits of the run_id that the history takes */

enum step { AUTH, SELECT, ROLE, SERVER, REPLICATION, MEMORY, PING, STEPS };

static bool asked(const struct stores__redis *redis, unsigned step) {
    if (step == AUTH) return redis->config.password != NULL || redis->config.username != NULL;
    if (step == ROLE) return redis->master != NULL;
    return step != SELECT || redis->config.db != 0;
}

static bool command(struct stores__redis *redis, const char *a, const char *b, const char *c) {
    const char *argv[] = {a, b, c};
    size_t lens[3];
    int argc;

    for (argc = 0; argc < 3 && argv[argc]; argc++) lens[argc] = strlen(argv[argc]);
    return stores__redis_out_command(&redis->hello, argc, argv, lens, 0, NULL, NULL, NULL);
}

static bool ask(struct stores__redis *redis, unsigned step) {
    const struct stores__redis_config *config = &redis->config;
    char db[16];

    switch (step) {
    case AUTH:
        /* a user with `nopass` takes any password */
        if (config->username) {
            return command(redis, "AUTH", config->username,
                           config->password ? config->password : "");
        }
        return command(redis, "AUTH", config->password, NULL);
    case SELECT:
        snprintf(db, sizeof db, "%d", config->db);
        return command(redis, "SELECT", db, NULL);
    /* of a server that somebody else names, who may be wrong */
    case ROLE: return command(redis, "ROLE", NULL, NULL);
    case SERVER: return command(redis, "INFO", "server", NULL);
    case REPLICATION: return command(redis, "INFO", "replication", NULL);
    /* Has maxmemory_policy, and needs no right to CONFIG, which hosted servers refuse. */
    case MEMORY: return command(redis, "INFO", "memory", NULL);
    /* INFO answers while the server loads its data; PING does not. */
    default: return command(redis, "PING", NULL, NULL);
    }
}

void stores__redis_greet(struct stores__redis *redis) {
    unsigned step;

    stores__redis_out_clear(&redis->hello);
    redis->evicts_any = redis->alone = false;
    redis->policy_refusal[0] = '\0';
    redis->clustered = false;
    redis->new_run_id[0] = '\0';
    for (redis->step = 0; !asked(redis, redis->step);) redis->step++;
    for (step = 0; step < STEPS; step++) {
        if (asked(redis, step) && !ask(redis, step)) {
            stores__redis_fail(redis, "memory ran out");
            return;
        }
    }
    stores__redis_socket_flush(redis->socket, &redis->hello);
}

/* The value of a line `name:value` of INFO; "" where there is none. */
static void field(const redisReply *reply, const char *name, char *out, size_t size) {
    size_t name_len = strlen(name), len;
    const char *at = reply->type == REDIS_REPLY_STRING ? reply->str : "";

    while (at && strncmp(at, name, name_len) != 0) {
        at = strchr(at, '\n');
        if (at) at++;
    }
    len = at ? strcspn(at += name_len, "\r\n") : 0;
    if (len > size - 1) len = size - 1;
    if (len > 0) memcpy(out, at, len);
    out[len] = '\0';
}

static const char *refusal(const struct stores__redis *redis, unsigned step, const char *text) {
    if (strncmp(text, "NOAUTH", 6) == 0) return "Redis wants a password";
    if (strncmp(text, "LOADING", 7) == 0) return "Redis is not ready";
    if (strncmp(text, "BUSY", 4) == 0) return "Redis is not ready";
    if (strncmp(text, "MASTERDOWN", 10) == 0) return "Redis is a replica";
    if (step == AUTH) {
        if (stores__redis_passwordless(text)) return "Redis has no password, and was sent one";
        return redis->config.username ? "Redis refuses the user name or the password"
                                      : "Redis refuses the password";
    }
    if (step == SELECT) return "Redis refuses the database";
    return "Redis refuses to say what it is";
}

/* What Redis said: its own words, but of AUTH the first one alone, for a server that does not know
 * the command, or a proxy, quotes what it was sent, and that was a password. */
static void words_of(const char *said, bool secret, char *out, size_t size) {
    stores__redis_words(said, out, size);
    if (secret) out[strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] = '\0';
}

bool stores__redis_evicts(const struct redisReply *memory) {
    char policy[32];

    field(memory, "maxmemory_policy:", policy, sizeof policy);
    return strcmp(policy, "noeviction") != 0 && strncmp(policy, "volatile-", 9) != 0;
}

const char *stores__redis_policy_refusal(const struct stores__redis *redis) {
    return redis->policy_refusal;
}

/* A server that was another one's replica for a while has that one's rows, which may be older than
 * its own were; the history of replication is another one then. Servers that tell none have one. */
static void take_history(const redisReply *reply, char run_id[41]) {
    char id[48];

    field(reply, "master_replid:", id, sizeof id);
    if (strlen(id) == 40) memcpy(run_id + HISTORY_AT, id, HISTORY_LEN);
}

/* Only a server that wants replicas tells how many follow it. */
static void take_followers(struct stores__redis *redis, const redisReply *reply) {
    char count[16];

    field(reply, "min_slaves_good_slaves:", count, sizeof count);
    redis->alone = strcmp(count, "0") == 0;
}

bool stores__redis_goes_on(struct stores__redis *redis, const struct redisReply *reply) {
    char text[48], run_id[41];

    take_followers(redis, reply);
    field(reply, "role:", text, sizeof text);
    memcpy(run_id, redis->run_id, sizeof run_id);
    take_history(reply, run_id);
    if (reply->type != REDIS_REPLY_STRING || strcmp(run_id, redis->run_id) != 0) return false;
    return redis->clustered || strcmp(text, "slave") != 0;
}

bool stores__redis_greeted(struct stores__redis *redis, const struct redisReply *reply) {
    unsigned step = redis->step;
    char text[160];

    if (reply->type == REDIS_REPLY_ERROR && step != MEMORY) {
        words_of(reply->str, step == AUTH, text, sizeof text);
        stores__redis_fail(redis, "%s: %s", refusal(redis, step, reply->str), text);
        return false;
    }
    if (step == ROLE) {
        const char *role = stores__redis_text(stores__redis_at(reply, 0), NULL);
        if (!role || strcmp(role, "master") != 0) {
            stores__redis_fail(redis, "Redis at %.100s:%d is no master, as a sentinel says: %.20s",
                               redis->config.host, redis->config.port, role ? role : "no role");
            return false;
        }
    } else if (step == SERVER) {
        field(reply, "run_id:", redis->new_run_id, sizeof redis->new_run_id);
        if (strlen(redis->new_run_id) != 40) {
            stores__redis_fail(redis, "Redis does not tell its run_id");
            return false;
        }
        field(reply, "redis_mode:", text, sizeof text);
        redis->clustered = strcmp(text, "cluster") == 0;
        if (redis->config.cluster && !redis->clustered) {
            stores__redis_fail(redis, "Redis is no node of a cluster");
            return false;
        }
    } else if (step == REPLICATION) {
        field(reply, "role:", text, sizeof text);
        /* a replica in a cluster says of every key who has it, and serves none */
        if (strcmp(text, "slave") == 0 && !redis->clustered) {
            stores__redis_fail(redis, "Redis is a replica: only a primary can be used");
            return false;
        }
        take_history(reply, redis->new_run_id);
        take_followers(redis, reply);
    } else if (step == MEMORY) {
        redis->evicts_any = stores__redis_evicts(reply);
        if (reply->type == REDIS_REPLY_ERROR) {
            words_of(reply->str, false, redis->policy_refusal, sizeof redis->policy_refusal);
        }
    }
    do redis->step++;
    while (redis->step < STEPS && !asked(redis, redis->step));
    return redis->step == STEPS;
}
