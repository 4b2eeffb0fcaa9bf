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
    char *tokens; /* of its calls, as one, where the primary was not met; NULL: none */
    struct stores__doubt doubt;
};

static void attempted(void *arg, struct pg_result *result, enum stores__replica_reason why);

static void asking_free(struct stores__asking *asking) {
    free(asking->tokens);
    free(asking);
}

static void tell(struct stores__asking *asking, struct pg_result *result,
                 const stores_error *error) {
    void (*done)(void *arg, struct pg_result *result, const stores_error *error) = asking->done;
    void *arg = asking->arg;
    asking_free(asking);
    done(arg, result, error);
}

static bool attempt(struct stores__asking *asking, struct stores__replica *replica) {
    asking->last = replica;
    asking->attempt = stores__attempt_start(replica, &asking->read, &asking->need, attempted,
                                            asking, &asking->why);
    if (asking->attempt == NULL) return false;
    asking->read.waits(asking->arg, true);
    return true;
}

static void settled(struct stores__doubt *doubt, const stores_error *error) {
    tell(STORES__CONTAINER(doubt, struct stores__asking, doubt), NULL, error);
}

/* Whether something of it is not settled. */
static bool is_doubted(const struct stores__asking *asking) {
    struct stores__shown shown = asking->need.shown;
    stores__shows_add(asking->engine->replicas, &shown);
    return shown.below > 0 && !stores__closing(asking->engine);
}

/* No replica has answered: who is to? */
static enum stores__asked go_on(struct stores__asking *asking) {
    struct stores__replicas *replicas = asking->engine->replicas;
    if (!is_doubted(asking)) {
        replicas->fallbacks[asking->why]++;
        return STORES__ASK_THE_PRIMARY;
    }
    struct stores__replica *sure = NULL;
    if (!asking->again) sure = stores__replica_as_far(replicas, &asking->need, asking->last);
    asking->again = true;
    if (sure != NULL && attempt(asking, sure)) return STORES__ASKED;
    replicas->fallbacks[asking->why]++;
    asking->doubt.shown = asking->need.shown;
    asking->doubt.tokens = asking->tokens;
    asking->doubt.until = asking->read.last_ends_at;
    asking->doubt.over = settled;
    bool begun = stores__doubt_begin(replicas, &asking->doubt);
    return begun ? STORES__ASKED : STORES__ASK_NOBODY;
}

static void attempted(void *arg, struct pg_result *result, enum stores__replica_reason why) {
    struct stores__asking *asking = arg;
    asking->attempt = NULL;
    asking->why = why;
    asking->read.waits(asking->arg, false);
    enum stores__asked asked = result != NULL ? STORES__ASK_THE_PRIMARY : go_on(asking);
    if (asked == STORES__ASKED) return;
    stores_error error;
    stores__error_set(&error, STORES_NO_MEMORY, "no memory for a read");
    tell(asking, result, asked == STORES__ASK_NOBODY ? &error : NULL);
}

/* What the tokens of its calls ask for. False: one is of other servers, and who knows how far this
 * one is by that. */
static bool take_tokens(const struct stores__replicas *replicas, const char *const *tokens,
                        struct stores__need *need) {
    const char *system = replicas->met ? replicas->system : NULL;
    bool known = true;
    for (; tokens != NULL && *tokens != NULL; tokens++) {
        struct stores__reach reach = {0};
        bool ours = system != NULL && stores__token_read(*tokens, system, &reach);
        if (!ours || stores__shows_are_of(replicas, reach.timeline)) {
            stores__token_add_shown(*tokens, system, &need->shown);
        }
        /* a later primary than ours: it has seen that */
        if (!ours || reach.timeline > replicas->timeline) {
            known = false;
        } else if (reach.lsn > need->after.lsn) {
            need->after = reach;
        }
    }
    return known;
}

/* Until the primary is met nobody knows which of them are of its system. False: no memory. */
static bool keep_tokens(struct stores__asking *asking) {
    const char *const *tokens = asking->read.tokens;
    struct stores__buf all = {0};
    if (asking->engine->replicas->met || tokens == NULL) return true;
    for (int i = 0; tokens[i] != NULL; i++) stores__buf_fmt(&all, "%s%s", i ? "," : "", tokens[i]);
    const char *text = stores__buf_text(&all);
    asking->tokens = text != NULL ? stores__strdup(text) : NULL;
    stores__buf_free(&all);
    return asking->tokens != NULL;
}

static struct stores__replica *pick(struct stores__asking *asking) {
    struct stores__replicas *replicas = asking->engine->replicas;
    bool known = take_tokens(replicas, asking->read.tokens, &asking->need);
    asking->why = replicas->met ? STORES__REPLICA_FOREIGN : STORES__REPLICA_UNTOLD;
    asking->again = !known;
    return known ? stores__replica_pick(replicas, &asking->need, &asking->why) : NULL;
}

static enum stores__asked begin(struct stores__asking *asking) {
    struct stores__replica *replica = pick(asking);
    asking->read.tokens = NULL; /* they are the caller's, and taken */
    if (replica != NULL && attempt(asking, replica)) return STORES__ASKED;
    return go_on(asking);
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
    enum stores__asked asked = keep_tokens(one) ? begin(one) : STORES__ASK_NOBODY;
    if (asked == STORES__ASKED) {
        *asking = one;
    } else {
        asking_free(one);
    }
    return asked;
}

void stores__asking_leave(struct stores__asking *asking) {
    if (asking->attempt != NULL) {
        stores__attempt_leave(asking->attempt);
        asking->read.waits(asking->arg, false);
    }
    stores__list_remove(&asking->doubt.link);
    asking_free(asking);
}
