/*
 * notes.h - what the core tells while it walks through what it has, kept until that is over: to
 * make tables of it may run finalizers of the program's, which may do anything to the store.
 */
#ifndef STORES_BINDINGS_NOTES_H
#define STORES_BINDINGS_NOTES_H

#include "store/engine.h"

enum { STORES__NOTE_TEXTS = 2 };

struct stores__notes {
    struct stores__buf *buf; /* the collector's, and on the stack */
    size_t at; /* where the next one is */
};

struct stores__note {
    const char *texts[STORES__NOTE_TEXTS]; /* "": that was not given */
    int count; /* of numbers */
    const char *numbers; /* which lie anywhere */
};

/* Pushes what keeps them. */
struct stores__notes stores__notes_new(lua_State *L);
/* Before a walk: raises where the engine is closed; forgets what was noted. */
void stores__notes_begin(lua_State *L, const struct stores__lua_engine *engine,
                         struct stores__notes *notes);
/* other: NULL for none. What there is no memory for is missed by the first stores__notes_next. */
void stores__note(struct stores__notes *notes, const char *text, const char *other,
                  const double *numbers, int count);
/* The next one, valid until the next walk; false: there is none. Raises where one is missing. */
bool stores__notes_next(lua_State *L, struct stores__notes *notes, struct stores__note *note);

static inline lua_Number stores__note_number(const struct stores__note *note, int index) {
    double number;
    memcpy(&number, note->numbers + (size_t)index * sizeof number, sizeof number);
    return number;
}

#endif
