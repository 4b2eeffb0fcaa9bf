/*
 * known.h - what the words of a text tell, remembered. Programs say the same few texts over and
 * over, and to read one costs as much as the rest of a call.
 */
#ifndef STORES_SQL_KNOWN_H
#define STORES_SQL_KNOWN_H

#include "sql/text.h"

struct stores__sql_known {
    enum stores__sql_effect effect;
    bool controls; /* stores__sql_controls */
    bool copies; /* stores__sql_copies */
    bool only_reads; /* stores__sql_only_reads */
    bool sets; /* stores__sql_sets */
    bool stands_anywhere; /* stores__sql_stands_anywhere */
    bool locks_rows; /* stores__sql_locks_rows */
    bool configures; /* it has a set_config, by whatever name its effect goes */
    bool drops_statements; /* it may end prepared statements of its session */
};

enum { STORES__SQL_TEXTS = 128 };

/* Those that came last, each in the one place that its hash gives it. Zero it to make it. */
struct stores__sql_texts {
    struct stores__sql_text *places[STORES__SQL_TEXTS];
};

/* What a text tells. Without memory it is read each time. */
struct stores__sql_known stores__sql_know(struct stores__sql_texts *texts, const char *sql);
void stores__sql_texts_free(struct stores__sql_texts *texts);

/* Eight bytes at a time: every statement that is sent is looked up by its text. */
uint64_t stores__sql_hash(const char *sql, size_t len);

#endif
