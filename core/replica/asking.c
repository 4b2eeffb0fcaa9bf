/*
 * A read that replicas are asked for: one of them, and where it has not come as far as the caller,
 * another one that is known to have, before the primary is to answer, who has to have ended by then
 * what replicas have shown.
 *
 *     ASKED --no answer--> ASKED AGAIN --no answer--> DOUBTED --the primary has ended it--> over
 *       |                       |                                                            |
 *       +-----------------------+--> the answer                                the primary <-+
 */
#include "replica/internal.h"

struct stores__asking {
    stores_engine *engine;
    struct stores__replica_read read;
    struct stores__need need;
    void (*done)(void *arg, struct pg_result *result, const stores_error *error);
    void *arg;
    struct stores__replica *last; /* that was asked; NULL: none */
    struct stores__attempt *attempt; /* under way; NULL: none */
    enum stores__replica_reason why; /* the last one gave nothing */
    bool again; /* one that is known to be as far was looked for */
    struct stores__doubt doubt;
};

static void attempted(void *arg, struct pg_result *result, enum stores__replica_reason why);

static void tell(struct stores__asking *asking, struct pg_result *result,
                 const stores_error *error) {
    void (*done)(void *arg, struct pg_result *result, const stores_error *error) = asking->done;
    void *arg = asking->arg;
    free(asking);
    done(arg, result, error);
}

static bool attempt(struct stores__asking *asking, struct stores__replica *replica) {
    asking->last = replica;
    asking->attempt = stores__attempt_start(replica, &asking->read, &asking->need, attempted,
                                            asking, &asking->why);
    return asking->attempt != NULL;
}

static void settled(struct stores__doubt *doubt, const stores_error *error) {
    tell(STORES__CONTAINER(doubt, struct stores__asking, doubt), NULL, error);
}

/* What of it is not settled; false: nothing. */
static bool is_doubted(const struct stores__asking *asking, struct stores__shown *shown) {
    const struct stores__replicas *replicas = asking->engine->replicas;
    *shown = asking->need.shown;
    stores__replicas_add_shown(replicas, shown);
    return shown->below > 0 && !stores__closing(asking->engine);
}

/* No replica has answered. False: the primary may, at once. */
static bool go_on(struct stores__asking *asking) {
    struct stores__replicas *replicas = asking->engine->replicas;
    if (!is_doubted(asking, &asking->doubt.shown)) {
        replicas->fallbacks[asking->why]++;
        return false;
    }
    struct stores__replica *sure = NULL;
    if (!asking->again) sure = stores__replica_as_far(replicas, &asking->need, asking->last);
    asking->again = true;
    if (sure != NULL && attempt(asking, sure)) return true;
    replicas->fallbacks[asking->why]++;
    asking->doubt.until = asking->read.last_ends_at;
    asking->doubt.over = settled;
    stores__doubt_begin(replicas, &asking->doubt);
    return true;
}

static void attempted(void *arg, struct pg_result *result, enum stores__replica_reason why) {
    struct stores__asking *asking = arg;
    asking->attempt = NULL;
    asking->why = why;
    if (result != NULL || !go_on(asking)) tell(asking, result, NULL);
}

/* What the tokens of its calls ask for. False: one is of other servers, and who knows how far this
 * one is by that. */
static bool take_tokens(const struct stores__replicas *replicas, const char *const *tokens,
                        struct stores__need *need) {
    const char *system = replicas->met ? replicas->system : NULL;
    bool known = true;
    for (; tokens != NULL && *tokens != NULL; tokens++) {
        struct stores__reach reach = {0};
        stores__token_add_shown(*tokens, system, &need->shown);
        /* a later primary than ours: it has seen that */
        if (system == NULL || !stores__token_read(*tokens, system, &reach) ||
            reach.timeline > replicas->timeline) {
            known = false;
        } else if (reach.lsn > need->after.lsn) {
            need->after = reach;
        }
    }
    return known;
}

static struct stores__replica *pick(struct stores__asking *asking) {
    struct stores__replicas *replicas = asking->engine->replicas;
    bool known = take_tokens(replicas, asking->read.tokens, &asking->need);
    asking->why = replicas->met ? STORES__REPLICA_FOREIGN : STORES__REPLICA_UNTOLD;
    asking->again = !known;
    return known ? stores__replica_pick(replicas, &asking->need, &asking->why) : NULL;
}

enum stores__asked
stores__asking_start(stores_engine *engine, const struct stores__replica_read *read,
                     void (*done)(void *arg, struct pg_result *result, const stores_error *error),
                     void *arg, struct stores__asking **asking) {
    *asking = NULL;
    if (engine->replicas == NULL || stores__closing(engine)) return STORES__ASK_THE_PRIMARY;
    struct stores__asking *one = calloc(1, sizeof *one);
    if (one == NULL) return STORES__ASK_NOBODY;
    one->engine = engine;
    one->read = *read;
    one->done = done;
    one->arg = arg;
    stores__list_init(&one->doubt.link);
    struct stores__replica *replica = pick(one);
    one->read.tokens = NULL; /* they are the caller's, and taken */
    if ((replica != NULL && attempt(one, replica)) || go_on(one)) {
        *asking = one;
        return STORES__ASKED;
    }
    free(one);
    return STORES__ASK_THE_PRIMARY;
}

void stores__asking_leave(struct stores__asking *asking) {
    if (asking->attempt != NULL) stores__attempt_leave(asking->attempt);
    stores__list_remove(&asking->doubt.link);
    free(asking);
}
