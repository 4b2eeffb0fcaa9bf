/*
 * digits.c - Schubfach (R. Giulietti) from double to digits, Eisel-Lemire from digits to
 * double; both stand on one table of powers of ten, 128 bits each, which is computed at start.
 */
#include "digits.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "doubles must be computed as doubles: build with SSE2"
#endif

#define POWER_MIN (-342)
#define POWER_MAX 324
#define POWER_EXACT_MAX 55 /* 10^0 .. 10^55 fit 128 bits without a remainder */
#define TWO_53 9007199254740992.0

struct power {
    uint64_t hi, lo;
};

/* powers[k - POWER_MIN]: the first 128 bits of 10^k, rounded down; the top bit is set. */
static struct power powers[POWER_MAX - POWER_MIN + 1];

static const double small_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- The table ------------------------------------------------------------------------------ */

#define LIMBS 32

/* The first 128 bits of a number of LIMBS limbs, the least significant first. */
static struct power top_bits(const uint32_t *limbs) {
    int top = LIMBS - 1;
    while (limbs[top] == 0) top--;
    uint64_t words[3] = {0, 0, 0};
    for (int i = 0; i < 6; i++) {
        uint64_t limb = top - i >= 0 ? limbs[top - i] : 0;
        words[i / 2] |= limb << (i % 2 ? 0 : 32);
    }
    int shift = __builtin_clzll(words[0]);
    if (shift == 0) return (struct power){words[0], words[1]};
    return (struct power){words[0] << shift | words[1] >> (64 - shift),
                          words[1] << shift | words[2] >> (64 - shift)};
}

/* 10^k and 5^k begin with the same bits. Rounding down at each division by 5 adds up to rounding
 * down once. */
static void make_powers(void) {
    uint32_t up[LIMBS] = {1}, down[LIMBS] = {0};
    for (int k = 0; k <= POWER_MAX; k++) {
        powers[k - POWER_MIN] = top_bits(up);
        uint64_t carry = 0;
        for (int i = 0; i < LIMBS; i++) {
            carry += (uint64_t)up[i] * 5;
            up[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    down[LIMBS - 1] = 1u << 31;
    for (int k = -1; k >= POWER_MIN; k--) {
        uint64_t rest = 0;
        for (int i = LIMBS - 1; i >= 0; i--) {
            rest = rest << 32 | down[i];
            down[i] = (uint32_t)(rest / 5);
            rest %= 5;
        }
        powers[k - POWER_MIN] = top_bits(down);
    }
}

void stores__digits_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_powers);
}

/* ---- From double to digits ------------------------------------------------------------------ */

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t *low) {
    unsigned __int128 product = (unsigned __int128)a * b;
    *low = (uint64_t)product;
    return (uint64_t)(product >> 64);
}

static int floor_log2_pow10(int k) {
    return (k * 1741647) >> 19;
}

/* The first 64 of 192 bits of power * factor; the last bit also says whether anything was cut. */
static uint64_t round_to_odd(struct power power, uint64_t factor) {
    uint64_t cut, middle;
    uint64_t carry = multiply(power.lo, factor, &cut);
    uint64_t high = multiply(power.hi, factor, &middle);
    middle += carry;
    high += middle < carry;
    return high | (middle > 1);
}

static struct stores__digits without_zeros(uint64_t digits, int exponent) {
    if (digits == 0) return (struct stores__digits){0, 0};
    while (digits % 100000000 == 0) {
        digits /= 100000000;
        exponent += 8;
    }
    while (digits % 10 == 0) {
        digits /= 10;
        exponent++;
    }
    return (struct stores__digits){digits, exponent};
}

/* The interval that reads back as c * 2^q, scaled by 4 * 10^-k, is lower .. upper. One digit less
 * than the interval's resolution is tried first; trailing zeros are the caller's to cut. */
static struct stores__digits schubfach(uint64_t c, int q, bool lower_is_closer) {
    bool odd = c & 1;
    int k = (q * 1262611 - (lower_is_closer ? 524031 : 0)) >> 22;
    int h = q + floor_log2_pow10(-k) + 1;
    struct power power = powers[-k - POWER_MIN];
    if (-k < 0 || -k > POWER_EXACT_MAX) power.hi += ++power.lo == 0;

    uint64_t lower = round_to_odd(power, (4 * c - 2 + lower_is_closer) << h) + odd;
    uint64_t value = round_to_odd(power, (4 * c) << h);
    uint64_t upper = round_to_odd(power, (4 * c + 2) << h) - odd;

    uint64_t s = value / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
        if (below != above) return (struct stores__digits){tens + above, k + 1};
    }
    bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
    if (below != above) return (struct stores__digits){s + above, k};
    uint64_t middle = 4 * s + 2;
    bool up = value > middle || (value == middle && (s & 1));
    return (struct stores__digits){s + up, k};
}

struct stores__digits stores__digits_shortest(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t c = exponent ? fraction | UINT64_C(1) << 52 : fraction;
    int q = (exponent ? exponent : 1) - 1075;

    if (q <= 0 && q > -53 && (c & ((UINT64_C(1) << -q) - 1)) == 0) return without_zeros(c >> -q, 0);
    struct stores__digits found = schubfach(c, q, fraction == 0 && exponent > 1);
    return without_zeros(found.digits, found.exponent);
}

/* ---- From digits to double ------------------------------------------------------------------ */

/* False where 128 bits of the power do not decide, or the result is not a normal double. */
static bool eisel_lemire(uint64_t digits, int exponent, double *value) {
    if (exponent < POWER_MIN || exponent > POWER_MAX) return false;
    struct power power = powers[exponent - POWER_MIN];
    int zeros = __builtin_clzll(digits);
    digits <<= zeros;
    /* the floor of a negative product is meant: every compiler that we know shifts in its sign */
    // cppcheck-suppress shiftNegativeLHS
    int64_t exp2 = ((217706 * (int64_t)exponent) >> 16) + 64 + 1023 - zeros;

    uint64_t low, high = multiply(digits, power.hi, &low);
    if ((high & 0x1ff) == 0x1ff && low + digits < digits) {
        uint64_t next_low, next = multiply(digits, power.lo, &next_low);
        uint64_t merged = low + next;
        if (merged < low) high++;
        if ((high & 0x1ff) == 0x1ff && merged + 1 == 0 && next_low + digits < digits) return false;
        low = merged;
    }
    uint64_t top = high >> 63;
    uint64_t mantissa = high >> (top + 9);
    exp2 -= 1 ^ (int64_t)top;
    if (low == 0 && (high & 0x1ff) == 0 && (mantissa & 3) == 1) return false;
    mantissa += mantissa & 1;
    mantissa >>= 1;
    if (mantissa >> 53) {
        mantissa >>= 1;
        exp2++;
    }
    if (exp2 < 1 || exp2 >= 0x7ff) return false;
    uint64_t bits = (uint64_t)exp2 << 52 | (mantissa & ((UINT64_C(1) << 52) - 1));
    memcpy(value, &bits, sizeof bits);
    return true;
}

double stores__digits_nearest(uint64_t digits, int exponent) {
    if (digits == 0) return 0;
    if (digits <= (uint64_t)TWO_53 && exponent >= -22 && exponent <= 22)
        return exponent < 0 ? (double)digits / small_powers[-exponent]
                            : (double)digits * small_powers[exponent];
    double value;
    if (eisel_lemire(digits, exponent, &value)) return value;

    /* Rare: halfway, subnormal, or out of range. Without a decimal point no locale matters. */
    char text[48];
    int saved = errno;
    snprintf(text, sizeof text, "%" PRIu64 "e%d", digits, exponent);
    value = strtod(text, NULL);
    errno = saved;
    return value;
}

bool stores__digits_exact(uint64_t digits, int exponent, double *value) {
    *value = stores__digits_nearest(digits, exponent);
    if (digits == 0) return true;
    /* Up to 15 digits no two decimals share a normal double, so none is shorter or nearer. */
    if (digits < UINT64_C(1000000000000000) && *value >= DBL_MIN && *value <= DBL_MAX) return true;
    if (*value == 0 || *value > DBL_MAX) return false;
    struct stores__digits given = without_zeros(digits, exponent);
    struct stores__digits shortest = stores__digits_shortest(*value);
    return given.digits == shortest.digits && given.exponent == shortest.exponent;
}

/* ---- Text ----------------------------------------------------------------------------------- */

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

size_t stores__digits_integer(char *out, uint64_t value) {
    char room[20];
    char *at = room + sizeof room;
    while (value >= 100) {
        at -= 2;
        memcpy(at, pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(at, pairs + 2 * value, 2);
    } else {
        *--at = (char)('0' + value);
    }
    size_t len = (size_t)(room + sizeof room - at);
    memcpy(out, at, len);
    return len;
}

/* Plain where that is short (as JavaScript has it), else with an exponent. jsonb reads both. */
static size_t place_point(char *out, const char *digits, int count, int exponent) {
    int point = count + exponent; /* how many digits stand before the point */
    char *at = out;
    if (exponent >= 0 && point <= 21) {
        memcpy(at, digits, (size_t)count);
        memset(at + count, '0', (size_t)exponent);
        return (size_t)point;
    }
    if (point > 0 && point <= 21) {
        memcpy(at, digits, (size_t)point);
        at[point] = '.';
        memcpy(at + point + 1, digits + point, (size_t)(count - point));
        return (size_t)count + 1;
    }
    if (point > -6 && point <= 0) {
        memcpy(at, "0.00000", (size_t)(2 - point));
        memcpy(at + 2 - point, digits, (size_t)count);
        return (size_t)(2 - point + count);
    }
    *at++ = digits[0];
    if (count > 1) {
        *at++ = '.';
        memcpy(at, digits + 1, (size_t)count - 1);
        at += count - 1;
    }
    *at++ = 'e';
    if (point < 1) *at++ = '-';
    at += stores__digits_integer(at, (uint64_t)(point < 1 ? 1 - point : point - 1));
    return (size_t)(at - out);
}

size_t stores__digits_write(char *out, double value) {
    char *at = out;
    if (value == 0) {
        *out = '0';
        return 1;
    }
    if (value < 0) {
        *at++ = '-';
        value = -value;
    }
    if (value < TWO_53 && value == (double)(uint64_t)value)
        return (size_t)(at - out) + stores__digits_integer(at, (uint64_t)value);
    char digits[20];
    struct stores__digits shortest = stores__digits_shortest(value);
    int count = (int)stores__digits_integer(digits, shortest.digits);
    return (size_t)(at - out) + place_point(at, digits, count, shortest.exponent);
}
