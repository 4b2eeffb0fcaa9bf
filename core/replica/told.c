/* What is told of replicas: figures, tokens, and each of them for people. */
#include "replica/internal.h"

static const char *const reasons[STORES__REPLICA_REASON_COUNT] = {"",
#define STORES__X(NAME, name) "replica_" #name,
                                                                  STORES__REPLICA_REASONS(STORES__X)
#undef STORES__X
};

void stores__replicas_stats(const stores_engine *engine,
                            void (*figure)(void *arg, const char *name, double value), void *arg) {
    const struct stores__replicas *replicas = engine->replicas;
    double reads = 0, fallbacks = 0, alone = 0, open = 0;
    if (replicas == NULL) return;
    for (int i = 0; i < replicas->count; i++) {
        reads += (double)replicas->list[i].reads;
        alone += replicas->list[i].is_alone;
        open += stores__pg_open_count(&replicas->list[i].pool);
    }
    for (int i = 1; i < STORES__REPLICA_REASON_COUNT; i++) {
        fallbacks += (double)replicas->fallbacks[i];
    }
    figure(arg, "replicas_alone", alone);
    figure(arg, "replica_connections", open);
    figure(arg, "replica_reads", reads);
    figure(arg, "replica_fallbacks", fallbacks);
    for (int i = 1; i < STORES__REPLICA_REASON_COUNT; i++) {
        figure(arg, reasons[i], (double)replicas->fallbacks[i]);
    }
}

void stores_replicas(const struct stores_engine *engine,
                     void (*replica)(void *arg, const char *name, const char *why, uint64_t reads,
                                     uint64_t fallbacks),
                     void *arg) {
    const struct stores__replicas *replicas = engine->replicas;
    for (int i = 0; replicas != NULL && i < replicas->count; i++) {
        const struct stores__replica *one = &replicas->list[i];
        const char *why = reasons[one->why];
        replica(arg, one->name, why[0] ? why + strlen("replica_") : "", one->reads, one->fallbacks);
    }
}

void stores_wrote_elsewhere(struct stores_engine *engine) {
    stores__mark_untold(engine);
}

bool stores_token(const struct stores_engine *engine, char token[STORES_TOKEN_SIZE]) {
    const struct stores__replicas *replicas = engine->replicas;
    token[0] = '\0';
    if (replicas == NULL || replicas->system[0] == '\0') return false;
    const struct stores__mark *mark = &replicas->mark;
    if (mark->untold != mark->covered || mark->reach.lsn == 0) return false;
    struct stores__reach reach = {mark->reach.timeline, stores__mark_needs(mark, NULL)};
    struct stores__shown shown = {0};
    stores__shows_add(replicas, &shown);
    stores__token_write(replicas->system, reach, shown, token);
    return true;
}
