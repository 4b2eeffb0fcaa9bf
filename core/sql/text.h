/*
 * text.h - SQL read lexically, as far as the engine has to understand what others wrote: where
 * strings, comments and quoted names end, and which texts can leave nothing in a session.
 */
#ifndef STORES_SQL_TEXT_H
#define STORES_SQL_TEXT_H

#include "base/base.h"

enum stores__sql_kind {
    STORES__SQL_END,
    STORES__SQL_BLANK, /* white space and comments */
    STORES__SQL_STRING, /* '..', E'..', $tag$..$tag$ */
    STORES__SQL_NAME, /* "..": a quoted identifier */
    STORES__SQL_WORD, /* an identifier or keyword as it stands */
    STORES__SQL_OTHER /* a number, or one character */
};

/* The first token from *at on that is no white space and no comment: its kind, and its end. It
 * begins at *at then. One that the text ends inside of ends with the text. Strings are read with
 * standard_conforming_strings on. */
enum stores__sql_kind stores__sql_next(const char **at, const char **end);

/* What a text can do besides giving rows, as far as its own words tell. What a view, an operator or
 * a policy calls is not seen. */
enum stores__sql_effect {
    STORES__SQL_NOTHING, /* it reads, and calls nothing but functions that are known for it */
    STORES__SQL_ROWS, /* it changes rows: a trigger may do whatever it likes; or a setting of the
                         caller's own, for its transaction */
    STORES__SQL_SESSION /* it may leave something in the session, or change what names mean */
};
enum stores__sql_effect stores__sql_effect(const char *sql);
/* Whether a SELECT asks for locks of its rows (FOR UPDATE and its like), which PostgreSQL refuses
 * where nothing may be written, though they write nothing that anybody reads. */
bool stores__sql_locks_rows(const char *sql);
/* Whether a word is anywhere in the text, in whatever case, also in strings. */
bool stores__sql_mentions(const char *sql, const char *word);
/* sql with each %T that is no part of a string, comment or name replaced; malloc'ed. NULL: no
 * memory. */
char *stores__sql_replace(const char *sql, const char *name);

#endif
