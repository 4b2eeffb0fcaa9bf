/* slot.c - the calls of a hub: its slots, which go from list to list in here alone. */
#include "slot.h"

enum { SLAB = 64 };

static bool more_slots(struct stores__hub *hub) {
    if (hub->slot_count + SLAB > hub->slot_room) {
        int room = hub->slot_room ? hub->slot_room * 2 : SLAB;
        struct stores__slot **slots = realloc(hub->slots, (size_t)room * sizeof(*slots));
        if (slots == NULL) return false;
        hub->slots = slots;
        hub->slot_room = room;
    }
    /* slots keep their address: ops point to them */
    struct stores__slot *slab = calloc(SLAB, sizeof *slab);
    if (slab == NULL) return false;
    for (int i = 0; i < SLAB; i++) {
        slab[i].hub = hub;
        slab[i].index = hub->slot_count + 1;
        hub->slots[hub->slot_count++] = &slab[i];
        stores__list_append(&hub->free_slots, &slab[i].link);
    }
    return true;
}

struct stores__slot *stores__slot_new(lua_State *L, struct stores__hub *hub,
                                      enum stores__slot_kind kind, bool raw) {
    if (stores__list_empty(&hub->free_slots) && !more_slots(hub)) {
        stores__raise(L, STORES_NO_MEMORY, "no memory for a call");
    }
    struct stores__slot *slot = STORES__CONTAINER(stores__list_shift(&hub->free_slots),
                                                  struct stores__slot, link);
    slot->use++;
    slot->serial = ++hub->serial;
    slot->state = SLOT_PENDING;
    slot->kind = kind;
    slot->raw = raw;
    slot->commits = false;
    slot->quiet = false;
    slot->etag = false;
    slot->unless[0] = '\0';
    slot->abandoned = false;
    slot->here = false;
    slot->most = -1;
    slot->places = false;
    slot->op = NULL;
    hub->pending++;
    return slot;
}

void stores__slot_ready(struct stores__slot *slot) {
    struct stores__hub *hub = slot->hub;
    slot->state = SLOT_READY;
    hub->pending--;
    stores__list_append(&hub->ready, &slot->link);
    if (!hub->owns_loop) return; /* its driver sees to it */
    if (hub->turning) {
        uv_stop(hub->loop); /* a timer comes before the poll, which must not wait then */
    } else {
        /* the host may be waiting for the loop's descriptor already */
        uv_async_send(&hub->stirred);
    }
}

void stores__slot_done(stores_op *op, void *arg) {
    (void)op;
    stores__slot_ready(arg);
}

int stores__slot_started(lua_State *L, struct stores__slot *slot, stores_op *op) {
    if (op == NULL) {
        stores__slot_free(slot);
        stores__raise(L, STORES_NO_MEMORY, "no memory for a call");
    }
    slot->op = op;
    lua_pushinteger(L, slot->index);
    return 1;
}

void stores__slot_free(struct stores__slot *slot) {
    if (slot->state == SLOT_PENDING) slot->hub->pending--;
    if (slot->kind == SLOT_SLEEP && slot->timer != NULL) uv_timer_stop(slot->timer);
    stores_op_free(slot->op);
    slot->op = NULL;
    slot->state = SLOT_FREE;
    stores__list_remove(&slot->link);
    /* the one used last is used first: its memory is warm, and numbers stay small */
    stores__list_prepend(&slot->hub->free_slots, &slot->link);
}

struct stores__slot *stores__slot_check(lua_State *L, struct stores__hub *hub, int index) {
    lua_Integer number = luaL_checkinteger(L, index);
    if (number < 1 || number > hub->slot_count || hub->slots[number - 1]->state == SLOT_FREE) {
        stores__raise(L, STORES_INTERNAL, "there is no call number %d", (int)number);
    }
    return hub->slots[number - 1];
}

struct stores__slot *stores__slot_shift(struct stores__hub *hub) {
    if (stores__list_empty(&hub->ready)) return NULL;
    struct stores__slot *slot = STORES__CONTAINER(hub->ready.next, struct stores__slot, link);
    stores__slot_told(slot);
    return slot;
}

void stores__slot_told(struct stores__slot *slot) {
    if (slot->state != SLOT_READY) return;
    stores__list_remove(&slot->link);
    slot->state = SLOT_DONE;
}

/* Not what cannot be called back: an engine's close, or a listener's notice. */
static bool may_be_freed(const struct stores__slot *slot) {
    return slot->op != NULL || slot->kind == SLOT_SLEEP || slot->state != SLOT_PENDING;
}

void stores__slot_give_up(struct stores__slot *slot) {
    if (slot->state == SLOT_FREE) return;
    if (may_be_freed(slot)) {
        stores__slot_free(slot);
    } else {
        slot->abandoned = true; /* freed by hub:next or hub:resume */
    }
}

/* ---- Timers ---------------------------------------------------------------------------------- */

bool stores__slot_timer(struct stores__slot *slot) {
    if (slot->timer != NULL) return true;
    slot->timer = malloc(sizeof *slot->timer);
    if (slot->timer == NULL) return false;
    uv_timer_init(slot->hub->loop, slot->timer);
    slot->hub->open++;
    slot->timer->data = slot;
    return true;
}

static void timer_closed(uv_handle_t *handle) {
    struct stores__slot *slot = handle->data;
    slot->hub->open--;
    free(handle);
}

/* ---- All of them ----------------------------------------------------------------------------- */

void stores__slots_close(struct stores__hub *hub) {
    for (int i = 0; i < hub->slot_count; i++) {
        struct stores__slot *slot = hub->slots[i];
        if (slot->state != SLOT_FREE) stores__slot_free(slot);
        if (slot->timer != NULL) uv_close((uv_handle_t *)slot->timer, timer_closed);
    }
}

void stores__slots_free(struct stores__hub *hub) {
    for (int i = 0; i < hub->slot_count; i += SLAB) free(hub->slots[i]);
    free(hub->slots);
}
