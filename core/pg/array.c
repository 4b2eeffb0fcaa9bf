/* array.c - see array.h: what array_recv reads, and for each element int8recv or textrecv; and what
 * jsonb_recv does. */
#include "pg/array.h"

enum { DIMENSIONS = 1, NO_NULLS = 0, LOWER_BOUND = 1, JSONB_VERSION = 1 };

static void add_number(struct stores__buf *buf, uint32_t value) {
    const unsigned char bytes[] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                   (unsigned char)(value >> 8), (unsigned char)value};
    stores__buf_add(buf, bytes, sizeof bytes);
}

void stores__pg_array_begin(struct stores__buf *buf, enum stores__pg_type type, size_t count) {
    buf->len = 0;
    buf->failed = false;
    add_number(buf, DIMENSIONS);
    add_number(buf, NO_NULLS);
    add_number(buf, type);
    add_number(buf, (uint32_t)count);
    add_number(buf, LOWER_BOUND);
}

void stores__pg_array_int8(struct stores__buf *buf, int64_t value) {
    add_number(buf, sizeof value);
    add_number(buf, (uint32_t)((uint64_t)value >> 32));
    add_number(buf, (uint32_t)(uint64_t)value);
}

void stores__pg_array_text(struct stores__buf *buf, const char *text, size_t len) {
    add_number(buf, (uint32_t)len);
    stores__buf_add(buf, text, len);
}

void stores__pg_documents_begin(struct stores__buf *buf) {
    static const char version = JSONB_VERSION;
    buf->len = 0;
    buf->failed = false;
    stores__buf_add(buf, &version, sizeof version);
}

void stores__pg_documents_add(struct stores__buf *buf, const char *text, size_t len) {
    stores__buf_add(buf, buf->len == 1 ? "[" : ",", 1);
    stores__buf_add(buf, text, len);
}

void stores__pg_documents_end(struct stores__buf *buf) {
    stores__buf_add(buf, "]", 1);
}
