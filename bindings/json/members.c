/*
 * members.c - the members of an object in the order in which jsonb keeps them: shorter names first,
 * and then by their bytes. Lua's own order is one of chance, and the server sorts what comes out of
 * order, which takes it several times as long as it takes here.
 */
#include "encoder.h"

/* MOVED_MOST: an object with more text is left as it is, for it would be moved twice for few names.
 * STEP: what is copied is copied by so many bytes, the last of them beyond its end. */
enum { MOVED_MOST = 2048, STEP = 32 };

static inline bool precedes(const char *text, const struct member *a, const struct member *b) {
    if (a->key_len != b->key_len) return a->key_len < b->key_len;
    const unsigned char *one = (const unsigned char *)text + a->start + 1;
    const unsigned char *other = (const unsigned char *)text + b->start + 1;
    if (*one != *other) return *one < *other; /* of an empty name it is the closing quote */
    return memcmp(one, other, a->key_len) < 0;
}

static bool in_order(const char *text, const struct member *members, int count) {
    for (int i = 1; i < count; i++) {
        if (precedes(text, &members[i], &members[i - 1])) return false;
    }
    return true;
}

static void sort(const char *text, struct member *members, int count) {
    for (int i = 1; i < count; i++) {
        struct member member = members[i];
        int at = i;
        for (; at > 0 && precedes(text, &member, &members[at - 1]); at--) {
            members[at] = members[at - 1];
        }
        members[at] = member;
    }
}

/* Both have room for a step more than that. */
static inline char *copy(char *out, const char *text, size_t len) {
    for (size_t at = 0; at < len; at += STEP) memcpy(out + at, text + at, STEP);
    return out + len;
}

bool stores__json_arrange(struct encoder *e, int first) {
    struct member *members = e->members + first;
    int count = e->member_count - first;
    size_t begin = members[0].start, end = e->buf->len;
    if (end - begin > MOVED_MOST || in_order(e->buf->data, members, count)) return true;
    if (!room(e, STEP)) return false;
    char moved[MOVED_MOST + STEP], *text = e->buf->data, *out = moved;
    for (int i = 0; i < count; i++) {
        size_t next = i + 1 < count ? members[i + 1].start - 1 : end;
        members[i].len = next - members[i].start;
    }
    sort(text, members, count);
    for (int i = 0; i < count; i++) {
        if (i > 0) *out++ = ',';
        out = copy(out, text + members[i].start, members[i].len);
    }
    /* copy() fills it, through out */
    // cppcheck-suppress uninitvar
    memcpy(text + begin, moved, end - begin);
    return true;
}
