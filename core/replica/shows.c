/* What replicas have shown, and the primary may not have ended (base/shown.h). */
#include "replica/internal.h"

static bool is_over(const struct stores__replicas *replicas, uint64_t at) {
    const struct stores__shows *shows = &replicas->shows;
    if (at <= shows->settled) return true;
    return at <= shows->before && stores__now(replicas->engine) >= shows->before_until;
}

void stores__shows_note(struct stores__replica *replica, struct stores__shown shown) {
    struct stores__replicas *replicas = replica->all;
    /* answers come in any order: of two connections the later one may have looked earlier */
    if (is_over(replicas, replica->shown_at)) {
        replica->shown = shown;
    } else {
        stores__shown_add(&replica->shown, shown);
    }
    replica->shown_at = ++replicas->shows.count;
}

void stores__shows_tell(struct stores__replicas *replicas, const char *token) {
    struct stores__shows *shows = &replicas->shows;
    stores__token_add_shown(token, replicas->system, &shows->told);
    if (shows->told.below > 0) shows->told_at = ++shows->count;
}

/* What was shown of the timeline before, the new primary has ended, or nobody has it; but an xid
 * that was lost it may give to another transaction. That it was shown of the new timeline already
 * is believed for a moment. */
void stores__shows_follow(struct stores__replicas *replicas, uint32_t timeline) {
    struct stores__shows *shows = &replicas->shows;
    if (timeline <= replicas->timeline) return;
    if (replicas->timeline > 0) {
        shows->before = shows->count;
        shows->before_until = stores__now(replicas->engine) + STORES__REPLICA_PATIENCE_MS;
        shows->moves++;
    }
    replicas->timeline = timeline;
}

bool stores__shows_are_of(const struct stores__replicas *replicas, uint32_t timeline) {
    return timeline >= replicas->timeline ||
           stores__now(replicas->engine) < replicas->shows.before_until;
}

unsigned stores__shows_era(const struct stores__replicas *replicas) {
    bool moving = stores__now(replicas->engine) < replicas->shows.before_until;
    return 2 * replicas->shows.moves - moving + replicas->met;
}

void stores__shows_add(const struct stores__replicas *replicas, struct stores__shown *shown) {
    const struct stores__shows *shows = &replicas->shows;
    if (!replicas->met && replicas->after != NULL) {
        stores__token_add_shown(replicas->after, NULL, shown);
    }
    if (!is_over(replicas, shows->told_at)) stores__shown_add(shown, shows->told);
    for (int i = 0; i < replicas->count; i++) {
        const struct stores__replica *replica = &replicas->list[i];
        if (!is_over(replicas, replica->shown_at)) stores__shown_add(shown, replica->shown);
    }
}
