/* etag.c - what tells one state of a row from another: a digest of its stored text. */
#include "base/md5.h"
#include "engine/op.h"

bool stores_op_etag(const stores_op *op, size_t index, char etag[STORES_ETAG_SIZE]) {
    const char *text;
    size_t len;
    _Static_assert(STORES_ETAG_SIZE == STORES__MD5_HEX + 1, "an etag is a digest");
    etag[0] = '\0';
    if (!stores_op_document(op, index, NULL, &text, &len)) return false;
    stores__md5_hex(text, len, etag);
    return true;
}

bool stores_is_etag(const char *text, size_t len) {
    return text != NULL && len == STORES__MD5_HEX && text[len] == '\0' &&
           strspn(text, "0123456789abcdef") == len;
}
