/*
 * digits.h - doubles and decimals, exactly: the shortest digits of a double, the nearest
 * double of some digits, and whether a decimal survives the trip. Knows nothing of Lua, reads no
 * locale, and allocates nothing.
 */
#ifndef STORES_JSON_DIGITS_H
#define STORES_JSON_DIGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* digits * 10^exponent. Where digits is not 0 its last digit is not 0. */
struct stores__digits {
    uint64_t digits;
    int exponent;
};

/* Room that stores__digits_write needs, whatever the double is. */
#define STORES__DIGITS_ROOM 32

/* No double has more shortest digits than this, so a decimal with more is never one. */
#define STORES__DIGITS_MAX 17

/* Makes the table of powers of ten. Once before anything else here; again is harmless, also from
 * another thread. */
void stores__digits_init(void);

/* The fewest digits that read back as value, and of those the nearest. value: finite, above 0. */
struct stores__digits stores__digits_shortest(double value);

/* The double nearest to digits * 10^exponent, ties to even; may be 0 or infinite. */
double stores__digits_nearest(uint64_t digits, int exponent);

/* True, and the double in *value, where the shortest digits of the nearest double are this very
 * decimal. digits may end in zeros. */
bool stores__digits_exact(uint64_t digits, int exponent, double *value);

/* Writes a finite double as JSON, with the fewest digits; -0 as 0. No NUL; returns the length. */
size_t stores__digits_write(char *out, double value);

/* The same for an unsigned integer, at most 20 bytes. */
size_t stores__digits_integer(char *out, uint64_t value);

#endif
