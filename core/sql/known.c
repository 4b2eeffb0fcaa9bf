#include "sql/known.h"

#include "sql/effect.h"

enum { KEPT_LENGTH = 2048 }; /* of a longer text the work behind it is the greater part */

struct stores__sql_text {
    uint64_t hash;
    struct stores__sql_known known;
    size_t len, room;
    char sql[];
};

uint64_t stores__sql_hash(const char *sql, size_t len) {
    const uint64_t prime = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = len, word;
    for (; len >= sizeof word; sql += sizeof word, len -= sizeof word) {
        memcpy(&word, sql, sizeof word);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, sql, len);
    hash = (hash ^ word) * prime;
    return hash ^ hash >> 32;
}

static struct stores__sql_known read_text(const char *sql) {
    struct stores__sql_known known = {.effect = stores__sql_effect(sql),
                                      .controls = stores__sql_controls(sql),
                                      .copies = stores__sql_copies(sql),
                                      .sets = stores__sql_sets(sql),
                                      .stands_anywhere = stores__sql_stands_anywhere(sql)};
    if (known.effect == STORES__SQL_SESSION) {
        known.drops_statements = stores__sql_mentions(sql, "deallocate") ||
                                 stores__sql_mentions(sql, "discard");
    } else {
        known.only_reads = stores__sql_only_reads(sql);
    }
    known.locks_rows = stores__sql_locks_rows(sql);
    known.configures = stores__sql_mentions(sql, "set_config");
    return known;
}

/* The place's text is made way for; its memory stays where it has room. */
static struct stores__sql_text *make_room(struct stores__sql_text **place, size_t len) {
    if (*place != NULL && (*place)->room >= len) return *place;
    struct stores__sql_text *text = malloc(sizeof *text + len);
    if (text == NULL) return NULL;
    text->room = len;
    free(*place);
    *place = text;
    return text;
}

struct stores__sql_known stores__sql_know(struct stores__sql_texts *texts, const char *sql) {
    size_t len = strlen(sql);
    if (len > KEPT_LENGTH) return read_text(sql);
    uint64_t hash = stores__sql_hash(sql, len);
    struct stores__sql_text **place = &texts->places[hash % STORES__SQL_TEXTS];
    struct stores__sql_text *text = *place;
    if (text != NULL && text->hash == hash && text->len == len &&
        memcmp(text->sql, sql, len) == 0) {
        return text->known;
    }
    struct stores__sql_known known = read_text(sql);
    text = make_room(place, len);
    if (text == NULL) return known;
    text->hash = hash;
    text->known = known;
    text->len = len;
    memcpy(text->sql, sql, len);
    return known;
}

void stores__sql_texts_free(struct stores__sql_texts *texts) {
    for (int i = 0; i < STORES__SQL_TEXTS; i++) {
        free(texts->places[i]);
        texts->places[i] = NULL;
    }
}
