#include "base/sized.h"

/* No version of any of them is as large: what is, was never set. */
enum { SIZE_MAX_EVER = 4096 };

#define END_OF(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* A field of a later version that began in the padding behind an earlier one would be read from
 * callers that never set it. */
#define STORES__X(what, type, last)                                                                \
    _Static_assert(END_OF(type, last) % _Alignof(type) == 0, #type " ends in padding");            \
    const struct stores__sized stores__sized_##what = {#type, END_OF(type, last), sizeof(type)};
STORES__SIZED(STORES__X)
#undef STORES__X

static bool is_size(const struct stores__sized *sized, size_t size) {
    return size >= sized->first && size <= SIZE_MAX_EVER;
}

static void refuse_size(const struct stores__sized *sized, size_t size, stores_error *error) {
    stores__error_set(error, STORES_INVALID_ARGUMENT,
                      "the size of a %s is %zu, which no version has: begin it with its "
                      "STORES_.._INIT, or with .size = sizeof(%s)",
                      sized->name, size, sized->name);
}

const void *stores__sized_take(const struct stores__sized *sized, const void *given, void *own,
                               stores_error *error) {
    const unsigned char *bytes = given;
    size_t size = *(const size_t *)given;
    memset(own, 0, sized->here);
    *(size_t *)own = sized->here;
    if (!is_size(sized, size)) {
        refuse_size(sized, size, error);
        return NULL;
    }
    for (size_t i = sized->here; i < size; i++) {
        if (bytes[i] == 0) continue;
        stores__error_set(error, STORES_INVALID_ARGUMENT,
                          "byte %zu of a %s is set: the program was built for a newer library than "
                          "this one, " STORES_VERSION ", which does not know what it means",
                          i, sized->name);
        return NULL;
    }
    size_t known = size < sized->here ? size : sized->here;
    memcpy((char *)own + sizeof size, bytes + sizeof size, known - sizeof size);
    return own;
}

bool stores__sized_give(const struct stores__sized *sized, void *given, const void *own) {
    size_t size = *(const size_t *)given;
    if (!is_size(sized, size)) return false;
    size_t known = size < sized->here ? size : sized->here;
    memcpy((char *)given + sizeof size, (const char *)own + sizeof size, known - sizeof size);
    return true;
}

bool stores__error_fits(stores_error *error) {
    if (error == NULL || is_size(&stores__sized_error, error->size)) return true;
    stores_error own;
    size_t size = error->size;
    refuse_size(&stores__sized_error, size, &own);
    memcpy(error, &own, stores__sized_error.first);
    error->size = size;
    return false;
}

void stores__error_give(stores_error *error, const stores_error *own) {
    if (error != NULL && stores__error_fits(error)) {
        stores__sized_give(&stores__sized_error, error, own);
    }
}

const char *stores_version(void) {
    return STORES_VERSION;
}
