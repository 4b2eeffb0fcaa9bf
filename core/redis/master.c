/* master.c - see master.h. */
#include "redis/master.h"

#include <stdio.h>

#include "redis/reply.h"
#include "redis/watch.h"
#include "redis/tls.h"

#define SENTINEL_PORT 26379
#define HELD_UP 20 /* a deadline that fires this late fires on a loop that did not turn */
#define AGAIN_FIRST 100 /* ms until another sentinel is watched */
#define AGAIN_MAX 5000

struct stores__master {
    struct stores__sentinel_terms terms; /* its strings are the master's own */
    struct stores__timers *timers;
    uint64_t patience_ms;
    const struct stores__master_hooks *hooks;
    void *arg;
    struct stores__place *places; /* of the sentinels, in the order in which they are asked */
    size_t count;
    struct stores__place found; /* what was told last; port 0: nothing yet */

    struct stores__sentinel *asked; /* NULL: nobody is */
    size_t nth; /* of the places, that is asked now */
    uint64_t until, share_ms;
    bool extended;
    struct stores__timer patience;
    char why[STORES__TLS_WHY];

    bool watches; /* from the first watch on */
    struct stores__watch *watch; /* NULL: none just now */
    struct stores__place watched, said; /* who, and where he says that it is; port 0: not yet */
    struct stores__timer again;
    unsigned lost_in_row;
};

static uint64_t now(void) {
    return uv_hrtime() / 1000000;
}

/* ---- Their order ---------------------------------------------------------------------------- */

static void to_front(struct stores__master *master, size_t nth) {
    struct stores__place place = master->places[nth];

    memmove(master->places + 1, master->places, nth * sizeof place);
    master->places[0] = place;
}

static void to_back(struct stores__master *master) {
    struct stores__place place = master->places[0];

    memmove(master->places, master->places + 1, (master->count - 1) * sizeof place);
    master->places[master->count - 1] = place;
}

/* The one that is watched. */
static void watched_to_front(struct stores__master *master) {
    size_t nth;

    for (nth = 0; nth < master->count; nth++) {
        if (stores__place_is(&master->places[nth], &master->watched)) {
            to_front(master, nth);
            return;
        }
    }
}

/* ---- Asking --------------------------------------------------------------------------------- */

static void ask_next(struct stores__master *master);

static void hang_up(struct stores__master *master) {
    stores__sentinel_close(master->asked);
    master->asked = NULL;
    stores__timer_set(master->timers, &master->patience, UINT64_MAX);
}

static void complain(struct stores__master *master, const char *why) {
    size_t len = strlen(master->why);
    char where[STORES__HOST_MAX + 16];

    snprintf(master->why + len, sizeof master->why - len, "%s%.100s: %s", len > 0 ? "; " : "",
             stores__place_write(&master->places[master->nth], where, sizeof where), why);
}

static void give_up(struct stores__master *master, const char *why) {
    complain(master, why);
    hang_up(master);
    master->nth++;
    ask_next(master);
}

static void on_answer(void *arg, const struct redisReply *reply) {
    struct stores__master *master = arg;
    const char *error = stores__redis_error(reply);
    struct stores__place place;
    char why[96];

    if (stores__sentinel_place(reply, &place)) {
        hang_up(master);
        to_front(master, master->nth);
        master->found = place;
        master->hooks->found(master->arg, &place);
        return;
    }
    snprintf(why, sizeof why, "%.*s", error ? (int)strcspn(error, "\r\n") : 95,
             error                            ? error
             : stores__redis_count(reply) > 0 ? "it gave no address"
                                              : "it knows no master of this name");
    give_up(master, why);
}

static void on_lost(void *arg, const char *why) {
    give_up(arg, why);
}

static const struct stores__sentinel_hooks ask_hooks = {.answer = on_answer, .lost = on_lost};

static bool ask_one(struct stores__master *master, char *why, size_t size) {
    uint64_t left = master->until > now() ? master->until - now() : 0;

    master->asked = stores__sentinel_open(&master->terms, &master->places[master->nth], &ask_hooks,
                                          master, why, size);
    if (!master->asked) return false;
    if (!stores__sentinel_where(master->asked)) {
        snprintf(why, size, "memory ran out");
        hang_up(master);
        return false;
    }
    /* what comes after it, the master too, has as much */
    master->share_ms = left / (master->count - master->nth + 1) + 1;
    master->extended = false;
    stores__timer_set(master->timers, &master->patience, now() + master->share_ms);
    return true;
}

static void ask_next(struct stores__master *master) {
    char why[STORES__TLS_WHY];

    for (; master->nth < master->count; master->nth++) {
        if (ask_one(master, why, sizeof why)) return;
        complain(master, why);
    }
    master->hooks->unknown(master->arg, master->why);
}

static void on_patience(struct stores__timer *timer) {
    struct stores__master *master = STORES__CONTAINER(timer, struct stores__master, patience);
    bool late = now() >= timer->at + HELD_UP;
    char why[48];

    /* takes the place in the heap that firing has just emptied */
    stores__timer_set(master->timers, timer, UINT64_MAX);
    if (late && !master->extended) {
        master->extended = true;
        stores__timer_set(master->timers, timer, now() + master->share_ms);
        return;
    }
    snprintf(why, sizeof why, "no answer within %llu ms", (unsigned long long)master->share_ms);
    give_up(master, why);
}

void stores__master_ask(struct stores__master *master, uint64_t until) {
    hang_up(master);
    master->until = until;
    master->nth = 0;
    master->why[0] = '\0';
    ask_next(master);
}

void stores__master_leave(struct stores__master *master) {
    hang_up(master);
}

void stores__master_doubt(struct stores__master *master) {
    to_back(master);
}

/* ---- Watching ------------------------------------------------------------------------------- */

static void end_watch(struct stores__master *master) {
    stores__watch_close(master->watch);
    master->watch = NULL;
    master->said.port = 0;
}

static void watch_later(struct stores__master *master) {
    uint64_t ms = AGAIN_FIRST;
    unsigned n;

    for (n = master->lost_in_row; n > 0 && ms < AGAIN_MAX; n--) ms *= 2;
    if (ms > AGAIN_MAX) ms = AGAIN_MAX;
    if (master->lost_in_row < 16) master->lost_in_row++;
    stores__timer_set(master->timers, &master->again,
                      now() + ms / 2 + stores__random_u64() % (ms / 2 + 1));
}

/* Whom nobody hears of it any more is not asked first either. */
static void on_unwatched(void *arg) {
    struct stores__master *master = arg;

    end_watch(master);
    if (!master->asked && stores__place_is(&master->places[0], &master->watched)) to_back(master);
    watch_later(master);
}

static void on_said(void *arg, const struct stores__place *place, bool switched) {
    struct stores__master *master = arg;

    master->said = *place;
    master->lost_in_row = 0;
    if (switched && !master->asked) watched_to_front(master);
    if (!stores__place_is(place, &master->found)) master->hooks->moved(master->arg);
}

static const struct stores__watch_hooks watch_hooks = {.said = on_said, .lost = on_unwatched};

static void watch_front(struct stores__master *master) {
    master->watched = master->places[0];
    master->watch = stores__watch_open(&master->terms, master->timers, &master->watched,
                                       master->patience_ms, &watch_hooks, master);
    if (!master->watch) on_unwatched(master);
}

static void on_again(struct stores__timer *timer) {
    struct stores__master *master = STORES__CONTAINER(timer, struct stores__master, again);

    stores__timer_set(master->timers, timer, UINT64_MAX);
    if (!master->watch) watch_front(master);
}

void stores__master_watch(struct stores__master *master) {
    if (!master->watches) {
        master->watches = true;
        watch_front(master);
    } else if (master->watch && !stores__place_is(&master->places[0], &master->watched)) {
        end_watch(master);
        watch_front(master);
    } else if (master->said.port != 0 && !stores__place_is(&master->said, &master->found)) {
        master->hooks->moved(master->arg);
    }
}

/* ---- Life ----------------------------------------------------------------------------------- */

static bool take_places(struct stores__master *master, const char *const *texts) {
    size_t i;

    while (texts[master->count]) master->count++;
    if (master->count == 0) return false;
    master->places = calloc(master->count, sizeof *master->places);
    if (!master->places) return false;
    for (i = 0; i < master->count; i++) {
        if (!stores__place_read(texts[i], SENTINEL_PORT, &master->places[i])) return false;
    }
    return true;
}

static bool copy(const char **out, const char *text) {
    *out = text ? stores__strdup(text) : NULL;
    return !text || *out;
}

static bool take_terms(struct stores__master *master, const struct stores__sentinel_terms *terms) {
    struct stores__sentinel_terms *own = &master->terms;

    *own = *terms;
    own->master = own->username = own->password = NULL;
    return copy(&own->master, terms->master) && copy(&own->username, terms->username) &&
           copy(&own->password, terms->password);
}

struct stores__master *stores__master_new(const struct stores__master_config *config,
                                          const struct stores__sentinel_terms *terms,
                                          struct stores__timers *timers,
                                          const struct stores__master_hooks *hooks, void *arg) {
    struct stores__master *master = calloc(1, sizeof *master);

    if (!master) return NULL;
    master->timers = timers;
    master->patience_ms = config->patience_ms;
    master->hooks = hooks;
    master->arg = arg;
    master->patience.fire = on_patience;
    master->again.fire = on_again;
    if (!take_terms(master, terms) || !take_places(master, config->sentinels) ||
        !stores__timer_set(timers, &master->patience, UINT64_MAX) ||
        !stores__timer_set(timers, &master->again, UINT64_MAX)) {
        stores__master_close(master);
        stores__master_free(master);
        return NULL;
    }
    return master;
}

void stores__master_deafen(struct stores__master *master, int deaf) {
    if (master->asked) stores__sentinel_deafen(master->asked, deaf);
    if (master->watch) stores__watch_deafen(master->watch, deaf);
}

void stores__master_close(struct stores__master *master) {
    stores__sentinel_close(master->asked);
    master->asked = NULL;
    end_watch(master);
    stores__timer_stop(master->timers, &master->patience);
    stores__timer_stop(master->timers, &master->again);
}

void stores__master_free(struct stores__master *master) {
    free((char *)master->terms.master);
    free((char *)master->terms.username);
    free((char *)master->terms.password);
    free(master->places);
    free(master);
}
