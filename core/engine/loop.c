/*
 * loop.c - what ops have of an engine: that they hold its loop while they are pending, wake it, and
 * keep its memory until the last of them is freed.
 */
#include <stdarg.h>
#include <stdio.h>

#include "engine/engine.h"
#include "engine/op.h"
#include "engine/part.h"
#include "engine/table.h"

void stores__log(stores_engine *engine, const char *format, ...) {
    char text[512];
    va_list args;
    if (engine->config.log == NULL || stores__closing(engine)) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    engine->config.log(engine->config.log_arg, text);
}

static void turn_idle(uv_idle_t *idle) {
    (void)idle;
}

void stores__engine_wake(stores_engine *engine) {
    if (!stores__closing(engine)) uv_idle_start(&engine->idle, turn_idle);
}

void stores__engine_hold(stores_engine *engine) {
    if (!stores__closing(engine)) uv_ref((uv_handle_t *)&engine->prepare);
}

void stores__engine_let_go(stores_engine *engine) {
    if (!stores__closing(engine)) uv_unref((uv_handle_t *)&engine->prepare);
}

void stores__engine_op_gone(stores_engine *engine) {
    engine->live_ops--;
    if (engine->life != STORES__CLOSED || engine->live_ops > 0) return;
    stores__spares_free(&engine->spare_ops);
    stores__tables_free(engine); /* what transactions held till now */
    STORES__DOWNWARDS(engine, gone, engine);
    free(engine);
}

bool stores__engine_in_child(stores_engine *engine) {
    if (!engine->in_child) {
        engine->in_child = true;
        /* what was ready is told in the parent; who asks here is answered by what is here */
        stores__list_move(&engine->ready, &engine->parents);
    }
    return true;
}
