/* stats.c - what an engine tells of itself: counts, tables that turn, how long calls took. A walk
 * through it is over before anything is made of what it told. */
#include "store/notes.h"
#include "values/fields.h"

/* ---- Figures --------------------------------------------------------------------------------- */

static void note_figure(void *arg, const char *name, double value) {
    stores__note(arg, name, NULL, &value, 1);
}

static void note_text(struct stores__notes *notes, const char *name, const char *text) {
    if (text[0] != '\0') stores__note(notes, name, text, NULL, 0);
}

static void add_figures(lua_State *L, const struct stores__lua_engine *engine,
                        struct stores__notes *notes) {
    struct stores__note note;
    stores__notes_begin(L, engine, notes);
    stores_stats(engine->engine, note_figure, notes);
    note_figure(notes, "notices", (double)engine->heard.notices);
    note_figure(notes, "notices_dropped", (double)engine->heard.dropped);
    note_figure(notes, "notices_waiting", (double)engine->heard.waiting);
    note_figure(notes, "notice_gaps", (double)engine->heard.gaps);
    note_text(notes, "redis_trouble", stores_redis_trouble(engine->engine));
    note_text(notes, "held_waited_for", stores_held_waited(engine->engine));
    note_text(notes, "held_refused", stores_held_refused(engine->engine));
    while (stores__notes_next(L, notes, &note)) {
        if (note.count > 0) {
            stores__field_number(L, note.texts[0], stores__note_number(&note, 0));
        } else {
            stores__field_text(L, note.texts[0], note.texts[1]);
        }
    }
}

static void add_shard(lua_State *L, const struct stores__lua_engine *engine,
                      struct stores__notes *notes) {
    struct stores__note note;
    int shard, count;
    const char *strategy, *cluster;
    stores__notes_begin(L, engine, notes);
    if (!stores_shard(engine->engine, &shard, &count, &strategy, &cluster)) return;
    stores__note(notes, strategy, cluster, (double[]){shard, count}, 2);
    if (!stores__notes_next(L, notes, &note)) return;
    lua_createtable(L, 0, 4);
    stores__field_number(L, "shard", stores__note_number(&note, 0));
    stores__field_number(L, "count", stores__note_number(&note, 1));
    stores__field_text(L, "strategy", note.texts[0]);
    stores__field_text(L, "cluster", note.texts[1]);
    lua_setfield(L, -2, "shard");
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static void note_replica(void *arg, const char *name, const char *why, uint64_t reads,
                         uint64_t fallbacks) {
    stores__note(arg, name, why, (double[]){(double)reads, (double)fallbacks}, 2);
}

static void add_replicas(lua_State *L, const struct stores__lua_engine *engine,
                         struct stores__notes *notes) {
    struct stores__note note;
    int count = 0;
    stores__notes_begin(L, engine, notes);
    stores_replicas(engine->engine, note_replica, notes);
    lua_newtable(L);
    while (stores__notes_next(L, notes, &note)) {
        lua_createtable(L, 0, 4);
        stores__field_text(L, "name", note.texts[0]);
        if (note.texts[1][0] != '\0') stores__field_text(L, "left_alone", note.texts[1]);
        stores__field_number(L, "reads", stores__note_number(&note, 0));
        stores__field_number(L, "fallbacks", stores__note_number(&note, 1));
        lua_rawseti(L, -2, ++count);
    }
    if (count > 0) {
        lua_setfield(L, -2, "replicas");
    } else {
        lua_pop(L, 1);
    }
}

static void note_turning(void *arg, const char *table, uint64_t ms, const char *writers) {
    stores__note(arg, table, writers, (double[]){(double)ms / 1000}, 1);
}

static void add_turning(lua_State *L, const struct stores__lua_engine *engine,
                        struct stores__notes *notes) {
    struct stores__note note;
    int count = 0;
    stores__notes_begin(L, engine, notes);
    stores_turning(engine->engine, note_turning, notes);
    lua_newtable(L);
    while (stores__notes_next(L, notes, &note)) {
        lua_createtable(L, 0, 3);
        stores__field_text(L, "table", note.texts[0]);
        stores__field_number(L, "seconds", stores__note_number(&note, 0));
        stores__field_text(L, "waits_for", note.texts[1]);
        lua_rawseti(L, -2, ++count);
    }
    lua_setfield(L, -2, "turning");
}

static void note_uncached(void *arg, const char *table, const char *why) {
    stores__note(arg, table, why, NULL, 0);
}

static void add_uncached(lua_State *L, const struct stores__lua_engine *engine,
                         struct stores__notes *notes) {
    struct stores__note note;
    stores__notes_begin(L, engine, notes);
    stores_uncached(engine->engine, note_uncached, notes);
    lua_newtable(L);
    while (stores__notes_next(L, notes, &note)) stores__field_text(L, note.texts[0], note.texts[1]);
    lua_setfield(L, -2, "uncached");
}

/* ---- How long calls took --------------------------------------------------------------------- */

enum { BUCKETS = 64 };

/* The sum, the counts, and the bounds, of which there is one fewer. */
static void note_histogram(void *arg, const char *name, const uint64_t *counts,
                           const double *bounds, int buckets, double sum) {
    double numbers[2 * BUCKETS] = {sum};
    if (buckets > BUCKETS) buckets = BUCKETS;
    for (int i = 0; i < buckets; i++) {
        numbers[1 + i] = (double)counts[i];
        if (i < buckets - 1) numbers[1 + buckets + i] = bounds[i];
    }
    stores__note(arg, name, NULL, numbers, 2 * buckets);
}

static void push_histogram(lua_State *L, const struct stores__note *note) {
    int buckets = note->count / 2;
    lua_Number total = 0;
    lua_createtable(L, buckets, 2);
    for (int i = 0; i < buckets; i++) {
        lua_Number count = stores__note_number(note, 1 + i);
        lua_createtable(L, 0, 2);
        if (i < buckets - 1)
            stores__field_number(L, "le", stores__note_number(note, 1 + buckets + i));
        stores__field_number(L, "count", count);
        lua_rawseti(L, -2, i + 1);
        total += count;
    }
    stores__field_number(L, "count", total);
    stores__field_number(L, "sum", stores__note_number(note, 0));
}

static void add_latency(lua_State *L, const struct stores__lua_engine *engine,
                        struct stores__notes *notes) {
    struct stores__note note;
    stores__notes_begin(L, engine, notes);
    stores_latency(engine->engine, note_histogram, notes);
    lua_newtable(L);
    while (stores__notes_next(L, notes, &note)) {
        push_histogram(L, &note);
        lua_setfield(L, -2, note.texts[0]);
    }
    lua_setfield(L, -2, "latency");
}

/* engine:stats() -> its figures, by their names */
static int engine_stats(lua_State *L) {
    const struct stores__lua_engine *engine = stores__engine_check(L, 1);
    struct stores__notes notes = stores__notes_new(L);
    lua_newtable(L);
    add_figures(L, engine, &notes);
    add_shard(L, engine, &notes);
    add_replicas(L, engine, &notes);
    add_turning(L, engine, &notes);
    add_uncached(L, engine, &notes);
    add_latency(L, engine, &notes);
    return 1;
}

/* engine:token() -> how far it has come, as text; nil: that is not known */
static int engine_token(lua_State *L) {
    struct stores__lua_engine *engine = stores__engine_check(L, 1);
    char token[STORES_TOKEN_SIZE];
    if (!stores_token(engine->engine, token)) return 0;
    lua_pushstring(L, token);
    return 1;
}

/* engine:wrote_elsewhere(): a store of the same database wrote */
static int engine_wrote_elsewhere(lua_State *L) {
    stores_wrote_elsewhere(stores__engine_check(L, 1)->engine);
    return 0;
}

static const luaL_Reg methods[] = {{"stats", engine_stats},
                                   {"token", engine_token},
                                   {"wrote_elsewhere", engine_wrote_elsewhere},
                                   {NULL, NULL}};

void stores__stats_register(lua_State *L) {
    stores__type_extend(L, STORES__ENGINE, methods);
}
