/*
 * shown.h - which transactions the snapshot of a standby may have shown as ended. A standby shows a
 * commit as soon as it has replayed it. The primary itself may show it later: its session writes
 * the commit, then waits for whom it has to wait for (synchronous_standby_names), and only then
 * leaves the list of those that run. So it matters to who reads on both, and xids tell it, which
 * are the same on both.
 */
#ifndef STORES_SHOWN_H
#define STORES_SHOWN_H

#include <stdbool.h>
#include <stdint.h>

struct stores__shown {
    uint64_t below; /* each xid below it may be one; 0: none is */
    uint64_t running; /* but for this one, which ran; 0: of none is that known */
};

/* What a standby's pg_current_snapshot(), as text, has shown. The list of those that run is empty
 * in it, also where some do: the first of them it names. False: it is none. NULL is none. */
bool stores__shown_read(const char *snapshot, struct stores__shown *shown);
/* Both may have shown it. */
void stores__shown_add(struct stores__shown *shown, struct stores__shown more);
/* Whether a snapshot of the primary, as text, has all of them ended. One that cannot be read has
 * not. */
bool stores__shown_ended(struct stores__shown shown, const char *snapshot);

#endif
