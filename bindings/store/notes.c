/* notes.c - see notes.h. A note: how many numbers it has, its texts, its numbers. */
#include "store/notes.h"

#include "json/codec.h"

struct stores__notes stores__notes_new(lua_State *L) {
    return (struct stores__notes){.buf = stores__json_buffer(L)};
}

void stores__notes_begin(lua_State *L, const struct stores__lua_engine *engine,
                         struct stores__notes *notes) {
    stores__engine_open(L, engine);
    notes->buf->len = notes->at = 0;
}

void stores__note(struct stores__notes *notes, const char *text, const char *other,
                  const double *numbers, int count) {
    const char *texts[STORES__NOTE_TEXTS] = {text, other != NULL ? other : ""};
    stores__buf_add(notes->buf, &count, sizeof count);
    for (int i = 0; i < STORES__NOTE_TEXTS; i++) {
        stores__buf_add(notes->buf, texts[i], strlen(texts[i]) + 1);
    }
    if (count > 0) stores__buf_add(notes->buf, numbers, (size_t)count * sizeof *numbers);
}

bool stores__notes_next(lua_State *L, struct stores__notes *notes, struct stores__note *note) {
    const struct stores__buf *buf = notes->buf;
    if (buf->failed) stores__raise(L, STORES_NO_MEMORY, "no memory for figures");
    if (notes->at == buf->len) return false;
    const char *at = buf->data + notes->at;
    memcpy(&note->count, at, sizeof note->count);
    at += sizeof note->count;
    for (int i = 0; i < STORES__NOTE_TEXTS; i++) {
        note->texts[i] = at;
        at += strlen(at) + 1;
    }
    note->numbers = at;
    notes->at = (size_t)(at - buf->data) + (size_t)note->count * sizeof(double);
    return true;
}
