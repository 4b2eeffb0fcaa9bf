/*
 * decimal.h - JSON numbers as the decimals that they are, whatever their size. Knows nothing of
 * Lua, and allocates nothing.
 */
#ifndef STORES_BINDINGS_JSON_DECIMAL_H
#define STORES_BINDINGS_JSON_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parts of a JSON number, in its text. */
struct stores__decimal {
    const char *digits, *end; /* of the digits, a '.' among them; no leading zeros; may be empty */
    size_t len; /* of the whole literal; 0: it is none */
    int64_t lead; /* the value is 0.DIGITS * 10^lead; held within +-10^15 */
    int64_t exponent; /* as it is written; held likewise */
    int64_t scale; /* how many places after the point the text asks for; 0 at least */
    bool negative;
};

/* Reads the JSON number that text begins with. */
struct stores__decimal stores__json_decimal(const char *text, const char *end);

/* True, and the double in *value, where the decimal is what its nearest double would print as. */
bool stores__json_decimal_exact(const struct stores__decimal *decimal, double *value);

/* What jsonb's numeric takes: 131072 digits before the point, 16383 after. */
bool stores__json_decimal_fits(const struct stores__decimal *decimal);

/* Below, at, or above 0, as a is less than, equal to, or more than b. */
int stores__json_decimal_compare(const struct stores__decimal *a, const struct stores__decimal *b);

#endif
