/*
 * effect.h - what a text of a caller can do to its transaction, and to rows, as far as its own
 * words tell.
 */
#ifndef STORES_SQL_EFFECT_H
#define STORES_SQL_EFFECT_H

#include "base/base.h"

/* One of its statements begins, ends or prepares a transaction; savepoints stay inside of it. What
 * no words tell (a server that reads backslashes in strings) the tags of the answers do. */
bool stores__sql_controls(const char *sql);
/* The same, or it looks so: END may be the one of a function's BEGIN ATOMIC. */
bool stores__sql_may_control(const char *sql);
/* The tag of an answer says that the statement did. */
bool stores__sql_tag_controls(const char *tag);
/* Outside of a transaction it may commit a part of its work, and fail after that: procedures and
 * blocks, what goes table by table, and what is made CONCURRENTLY. */
bool stores__sql_commits_inside(const char *sql);
/* The tag of an answer does not say that no row has changed, and no table. */
bool stores__sql_tag_writes(const char *tag);
/* The same of a statement that was not asked what it wrote: what a SELECT called that made a table
 * no tag tells, nor what one of several statements did. */
bool stores__sql_may_have_written(const char *sql, bool several, const char *tag);
/* The same where there was no answer: by its words, of a text that does not stand anywhere. */
bool stores__sql_may_write(const char *sql, bool several);
/* Names may mean other tables from now on, to everybody, as the tag of an answer tells, and words
 * do; several: the text has more statements than that one. What a function does that a SELECT calls
 * is not seen. */
bool stores__sql_renames(const char *sql, bool several, const char *tag);
/* One of its statements is a COPY whose rows the client sends or takes. */
bool stores__sql_copies(const char *sql);
/* One of its statements is a SET, which makes of a transaction that reads only one that writes. */
bool stores__sql_sets(const char *sql);
/* It begins, or its tag does, as what may stand in any transaction: SELECT, UPDATE and their like.
 * What it calls may write. */
bool stores__sql_stands_anywhere(const char *sql);
/* A statement that changes no row: it selects, and calls nothing that is not known to read only. */
bool stores__sql_only_reads(const char *sql);

#endif
