/*
 * no_memory.h - memory that runs out when a test says so. Its program is linked with malloc, calloc
 * and realloc wrapped (CMakeLists.txt), so that what the core asks for comes here.
 */
#ifndef STORES_SPEC_NO_MEMORY_H
#define STORES_SPEC_NO_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

static int fail_at; /* the how-manyth from now on fails; 0: none */
static bool all_fail; /* until it is taken back */
static int denied; /* how many did meanwhile */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool fails(int *at) {
    return *at > 0 && --*at == 0;
}

static bool no_memory(void) {
    denied += all_fail;
    return all_fail || fails(&fail_at);
}

void *__wrap_malloc(size_t size) {
    return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return no_memory() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return no_memory() ? NULL : __real_realloc(old, size);
}

#endif
