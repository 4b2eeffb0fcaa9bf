/* The replicas of an engine: which of them is asked, and which is left alone for how long. */
#include "replica/internal.h"

enum {
    ALONE_FIRST_MS = 1000, /* and twice as long each time, */
    ALONE_MOST_MS = 16 * 1000,
    BEHIND_FIRST_MS = 5, /* for one that is late: it will be there in a moment */
    BEHIND_MOST_MS = 1000
};

/* ---- Fit, or left alone ---------------------------------------------------------------------- */

/* The only way from one list to the other; or to the end of its own. */
static void move(struct stores__replica *replica, bool alone) {
    struct stores__replicas *replicas = replica->all;
    stores__list_remove(&replica->link);
    stores__list_append(alone ? &replicas->alone : &replicas->fit, &replica->link);
    replica->is_alone = alone;
}

static void leave_alone(struct stores__replica *replica, enum stores__replica_reason why) {
    uint64_t ms = ALONE_FIRST_MS, now = stores__now(replica->all->engine);
    bool known = replica->is_alone && now < replica->alone_until;
    if (known && !replica->on_trial) return; /* another read has found it out */
    if (stores__closing(replica->all->engine)) return;
    /* one that is only late is looked at again as soon */
    for (unsigned i = 0; why != STORES__REPLICA_LAGGING && i < replica->failures; i++) {
        if (ms < ALONE_MOST_MS) ms *= 2;
    }
    if (replica->why != why) {
        stores__log(replica->all->engine, "the replica %s is left alone: it %s", replica->name,
                    why == STORES__REPLICA_DOWN       ? "is not reached"
                    : why == STORES__REPLICA_SILENT   ? "does not answer"
                    : why == STORES__REPLICA_LAGGING  ? "lags"
                    : why == STORES__REPLICA_PROMOTED ? "is no standby"
                                                      : "is of another system or timeline");
    }
    replica->why = why;
    replica->failures++;
    replica->on_trial = false;
    replica->alone_until = now + ms;
    move(replica, true);
}

static void is_fit(struct stores__replica *replica) {
    replica->why = STORES__REPLICA_NONE;
    replica->failures = replica->hasty = 0;
    replica->on_trial = false;
    if (replica->is_alone) move(replica, false);
}

void stores__replica_failed(struct stores__replica *replica, enum stores__replica_reason why) {
    replica->fallbacks++;
    switch (why) {
    case STORES__REPLICA_DOWN:
    case STORES__REPLICA_SILENT:
    case STORES__REPLICA_LAGGING:
    case STORES__REPLICA_PROMOTED:
    case STORES__REPLICA_FOREIGN: leave_alone(replica, why); break;
    default: break;
    }
    if (why == STORES__REPLICA_SILENT) stores__pg_pool_renew(&replica->pool, UINT64_MAX);
}

/* ---- Who is asked ---------------------------------------------------------------------------- */

static uint64_t needed_of(const struct stores__replica *replica, const struct stores__need *need) {
    uint64_t lsn = stores__mark_needs(&replica->all->mark, replica);
    /* of a token of a timeline that is over the place counts as well: the next one began at it or
     * behind it, or what stood there is lost */
    return need->after.lsn > lsn ? need->after.lsn : lsn;
}

static bool is_late(const struct stores__replica *replica, const struct stores__need *need) {
    return stores__now(replica->all->engine) < replica->behind_until &&
           replica->seen < needed_of(replica, need);
}

/* One that was left alone for long enough is tried by one read, and by no other before that. */
static struct stores__replica *on_trial(struct stores__replicas *replicas) {
    for (struct stores__list *at = replicas->alone.next; at != &replicas->alone; at = at->next) {
        struct stores__replica *replica = STORES__CONTAINER(at, struct stores__replica, link);
        if (replica->on_trial || stores__now(replicas->engine) < replica->alone_until) continue;
        replica->on_trial = true;
        return replica;
    }
    return NULL;
}

/* The one that reads least; of those the one that read longest ago. */
static struct stores__replica *least_busy(struct stores__replicas *replicas,
                                          const struct stores__need *need) {
    struct stores__replica *best = NULL;
    for (struct stores__list *at = replicas->fit.next; at != &replicas->fit; at = at->next) {
        struct stores__replica *replica = STORES__CONTAINER(at, struct stores__replica, link);
        if (is_late(replica, need)) continue;
        if (best == NULL || replica->reading < best->reading) best = replica;
    }
    if (best != NULL) move(best, false);
    return best;
}

static bool is_told(const struct stores__replicas *replicas) {
    return replicas->met && replicas->mark.untold == replicas->mark.covered;
}

struct stores__replica *stores__replica_pick(struct stores__replicas *replicas,
                                             const struct stores__need *need,
                                             enum stores__replica_reason *why) {
    *why = STORES__REPLICA_UNTOLD;
    if (!is_told(replicas)) return NULL;
    struct stores__replica *replica = on_trial(replicas);
    if (replica == NULL) replica = least_busy(replicas, need);
    *why = stores__list_empty(&replicas->fit) ? STORES__REPLICA_AWAY : STORES__REPLICA_BEHIND;
    return replica;
}

struct stores__replica *stores__replica_as_far(struct stores__replicas *replicas,
                                               const struct stores__need *need,
                                               const struct stores__replica *but) {
    if (!is_told(replicas)) return NULL;
    for (struct stores__list *at = replicas->fit.next; at != &replicas->fit; at = at->next) {
        struct stores__replica *replica = STORES__CONTAINER(at, struct stores__replica, link);
        if (replica == but || replica->seen < needed_of(replica, need)) continue;
        return replica;
    }
    return NULL;
}

bool stores__replica_is_it(struct stores__replica *replica, const struct stores__pg_conn *conn) {
    const struct stores__replicas *replicas = replica->all;
    /* where the role may not ask for the system nobody knows whose places these are */
    return replicas->system[0] != '\0' && strcmp(conn->identity.system, replicas->system) == 0 &&
           strcmp(conn->identity.database, replicas->database) == 0;
}

/* It was asked for more than it has: for so long it is not asked again. */
static void is_behind(struct stores__replica *replica) {
    uint64_t ms = BEHIND_FIRST_MS;
    for (unsigned i = 0; i < replica->behind && ms < BEHIND_MOST_MS; i++) ms *= 2;
    replica->behind++;
    replica->behind_until = stores__now(replica->all->engine) + ms;
}

enum stores__replica_reason stores__replica_judge(struct stores__replica *replica,
                                                  const struct stores__need *need,
                                                  const struct stores__standing *standing) {
    const struct stores__replicas *replicas = replica->all;
    if (!standing->told) return STORES__REPLICA_FAILED;
    if (!standing->in_recovery) return STORES__REPLICA_PROMOTED;
    if (standing->of_run && standing->timeline > replica->timeline) {
        replica->timeline = standing->timeline;
    }
    /* it follows another primary than ours, has not come to its beginning yet, or nobody knows */
    if (standing->timeline < replicas->timeline || replicas->timeline == 0) {
        return STORES__REPLICA_FOREIGN;
    }
    if (replicas->max_lag_ms > 0 && standing->lag_ms > replicas->max_lag_ms) {
        return STORES__REPLICA_LAGGING;
    }
    is_fit(replica);
    if (standing->lsn > replica->seen) replica->behind = 0; /* it goes on */
    replica->seen = standing->lsn;
    if (standing->lsn < needed_of(replica, need)) {
        is_behind(replica);
        return STORES__REPLICA_BEHIND;
    }
    replica->behind = 0;
    return STORES__REPLICA_NONE;
}

/* ---- What connections tell ------------------------------------------------------------------- */

bool stores__replica_is_run(const struct stores__replica *replica,
                            const struct stores__pg_conn *conn) {
    return strcmp(replica->started, conn->identity.started) == 0;
}

/* Of a server that was started again, or is another one, nobody knows what it was about to finish.
 */
void stores__replica_runs(struct stores__replica *replica, const struct stores__pg_conn *conn) {
    struct stores__mark *mark = &replica->all->mark;
    if (stores__replica_is_run(replica, conn)) return;
    if (mark->shown_by == replica) {
        mark->reach.lsn++;
        mark->shown_by = NULL;
    }
    memcpy(replica->started, conn->identity.started, sizeof replica->started);
    replica->timeline = 0; /* it may be a copy that begins anew */
}

static void connected(void *arg, const struct stores__pg_conn *conn) {
    stores__replica_runs(arg, conn);
}

static void take_after(struct stores__replicas *replicas) {
    struct stores__reach reach;
    if (replicas->after == NULL) return;
    stores__shows_tell(replicas, replicas->after);
    if (stores__token_read(replicas->after, replicas->system, &reach)) {
        stores__mark_raise(&replicas->mark, reach, NULL);
    } else {
        replicas->mark.untold++;
    }
    free(replicas->after);
    replicas->after = NULL;
}

void stores__replicas_met(stores_engine *engine, const struct stores__pg_conn *conn) {
    struct stores__replicas *replicas = engine->replicas;
    if (replicas == NULL || conn->standby) return;
    uint32_t timeline = (uint32_t)strtoul(conn->identity.timeline, NULL, 16);
    memcpy(replicas->system, conn->identity.system, sizeof replicas->system);
    memcpy(replicas->database, conn->identity.database, sizeof replicas->database);
    stores__shows_follow(replicas, timeline);
    replicas->met = true;
    take_after(replicas);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void closed(void *arg) {
    struct stores__replica *replica = arg;
    struct stores__replicas *replicas = replica->all;
    if (--replicas->open == 0 && replicas->closed != NULL) replicas->closed(replicas->engine);
}

/* What is said to the primary of several hosts, or by an environment that is for it, is not meant
 * for a replica. */
static const char **own_keys(const stores_replica *given, const char ***values) {
    size_t count = 0;
    bool said = false;
    while (given->pg_keys != NULL && given->pg_keys[count] != NULL) {
        const char *value = given->pg_values[count] ? given->pg_values[count] : "";
        bool text = strcmp(given->pg_keys[count], "url") == 0 ||
                    strcmp(given->pg_keys[count], "service") == 0;
        said = said || strcmp(given->pg_keys[count], "target_session_attrs") == 0 ||
               (text && strstr(value, "target_session_attrs") != NULL);
        count++;
    }
    const char **keys = calloc(2 * (count + 2), sizeof *keys);
    if (keys == NULL) return NULL;
    *values = keys + count + 2;
    if (count > 0) {
        memcpy(keys, given->pg_keys, count * sizeof *keys);
        memcpy(*values, given->pg_values, count * sizeof *keys);
    }
    if (!said) {
        keys[count] = "target_session_attrs";
        (*values)[count] = "any";
    }
    return keys;
}

static bool name_it(struct stores__replica *replica) {
    const struct stores__pg_params *params = &replica->pool.common.params;
    struct stores__buf buf = {0};
    for (int i = 0; i < params->host_count; i++) {
        stores__buf_fmt(&buf, "%s%s:%s", i > 0 ? "," : "", params->hosts[i].name,
                        params->hosts[i].port[0] ? params->hosts[i].port : "5432");
    }
    const char *text = stores__buf_text(&buf);
    replica->name = text != NULL ? stores__strdup(text) : NULL;
    stores__buf_free(&buf);
    return replica->name != NULL;
}

static bool open_one(struct stores__replicas *replicas, const stores_config *config,
                     const stores_replica *given, stores_error *error) {
    struct stores__replica *replica = &replicas->list[replicas->count];
    stores_engine *engine = replicas->engine;
    stores_replica own;
    stores_config its = *config;
    const char **values = NULL;
    given = stores__replica_given(given, &own, error);
    if (given == NULL) return false;
    const char **keys = own_keys(given, &values);
    if (keys == NULL) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for a replica");
        return false;
    }
    its.pg_keys = keys;
    its.pg_values = values;
    its.no_cache = true;
    its.min_idle = 0;
    if (given->poolsize > 0) its.poolsize = given->poolsize;
    if (its.acquire_timeout_ms > STORES__REPLICA_PATIENCE_MS) {
        its.acquire_timeout_ms = STORES__REPLICA_PATIENCE_MS;
    }
    if (its.connect_timeout_ms == 0 || its.connect_timeout_ms > STORES__REPLICA_PATIENCE_MS) {
        its.connect_timeout_ms = STORES__REPLICA_PATIENCE_MS;
    }
    replica->all = replicas;
    stores__list_init(&replica->attempts);
    stores__list_init(&replica->link);
    replicas->count++;
    replicas->open++;
    bool ok = stores__pg_pool_open(&replica->pool, engine->loop, &engine->timers, &its, error);
    free(keys);
    replica->pool.arg = replica;
    replica->pool.connected = connected;
    replica->pool.closed = closed;
    if (!ok) return false;
    move(replica, false);
    if (name_it(replica)) return true;
    stores__error_set(error, STORES_NO_MEMORY, "no memory for a replica");
    return false;
}

static bool take_config(struct stores__replicas *replicas, const stores_config *config) {
    replicas->max_lag_ms = config->max_lag_ms;
    if (config->after_token != NULL) {
        replicas->after = stores__strdup(config->after_token);
        if (replicas->after == NULL) return false;
    }
    return stores__standing_questions(replicas);
}

bool stores__replicas_open(stores_engine *engine, const stores_config *config,
                           stores_error *error) {
    size_t count = 0;
    if (config->after_token != NULL && !stores__token_is(config->after_token)) {
        stores__error_set(error, STORES_INVALID_OPTION, "after_token is no token of a store");
        return false;
    }
    while (config->replicas != NULL && config->replicas[count] != NULL) count++;
    if (count == 0) return true;
    struct stores__replicas *replicas = calloc(1, sizeof *replicas);
    if (replicas != NULL) replicas->list = calloc(count, sizeof *replicas->list);
    if (replicas == NULL || replicas->list == NULL) {
        free(replicas);
        stores__error_set(error, STORES_NO_MEMORY, "no memory for replicas");
        return false;
    }
    engine->replicas = replicas;
    replicas->engine = engine;
    stores__list_init(&replicas->fit);
    stores__list_init(&replicas->alone);
    stores__doubts_init(&replicas->doubts);
    if (!take_config(replicas, config)) {
        stores__error_set(error, STORES_NO_MEMORY, "no memory for replicas");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!open_one(replicas, config, config->replicas[i], error)) return false;
    }
    return true;
}

void stores__replicas_deafen(stores_engine *engine, int deaf) {
    struct stores__replicas *replicas = engine->replicas;
    for (int i = 0; replicas != NULL && i < replicas->count; i++) {
        stores__pg_pool_deafen(&replicas->list[i].pool, deaf);
    }
}

bool stores__replicas_close(stores_engine *engine, void (*done)(void *engine)) {
    struct stores__replicas *replicas = engine->replicas;
    if (replicas == NULL) return false;
    stores__doubts_close(replicas);
    for (int i = 0; i < replicas->count; i++) {
        replicas->list[i].pool.common.statement = NULL;
        stores__pg_probe_stop(&replicas->list[i].probe);
        stores__pg_pool_close(&replicas->list[i].pool);
    }
    /* those without a connection are closed at once */
    replicas->closed = done;
    return replicas->open > 0;
}

void stores__replicas_free(stores_engine *engine) {
    struct stores__replicas *replicas = engine->replicas;
    if (replicas == NULL) return;
    for (int i = 0; i < replicas->count; i++) {
        stores__pg_pool_free(&replicas->list[i].pool);
        free(replicas->list[i].name);
    }
    for (int i = 0; i < 2; i++) free(replicas->questions[i]);
    free(replicas->after);
    free(replicas->list);
    free(replicas);
    engine->replicas = NULL;
}
