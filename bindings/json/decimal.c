/*
 * decimal.c - JSON numbers as the decimals that they are, whatever their size: nothing is computed
 * but where their digits begin and end.
 */
#include "decimal.h"

#include "digits.h"

#define FAR INT64_C(1000000000000000)
#define NUMERIC_BEFORE_POINT 131072
#define NUMERIC_AFTER_POINT 16383
#define NUMERIC_EXPONENT (INT32_MAX / 2) /* even of a zero */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Reads the digits of an exponent; held at FAR, which is out of every range. */
static const char *read_exponent(const char *at, const char *end, int64_t *exponent) {
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end || !is_digit(*at)) return NULL;
    int64_t value = 0;
    for (; at < end && is_digit(*at); at++)
        if (value < FAR) value = value * 10 + (*at - '0');
    if (value > FAR) value = FAR;
    *exponent = negative ? -value : value;
    return at;
}

struct stores__decimal stores__json_decimal(const char *text, const char *end) {
    struct stores__decimal decimal = {0};
    const char *at = text;
    if (at < end && *at == '-') {
        decimal.negative = true;
        at++;
    }
    const char *whole = at;
    while (at < end && is_digit(*at)) at++;
    if (at == whole || (*whole == '0' && at - whole > 1)) return decimal;
    int64_t before = at - whole, after = 0, exponent = 0;
    if (at < end && *at == '.') {
        const char *fraction = ++at;
        while (at < end && is_digit(*at)) at++;
        after = at - fraction;
        if (after == 0) return decimal;
    }
    const char *digits_end = at;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at = read_exponent(at + 1, end, &exponent);
        if (!at) return decimal;
    }
    decimal.len = (size_t)(at - text);
    decimal.digits = whole;
    decimal.end = digits_end;
    decimal.exponent = exponent;
    decimal.lead = before + exponent;
    decimal.scale = after > exponent ? after - exponent : 0;
    if (*whole == '0') { /* the first digit that counts is behind the point, if anywhere */
        decimal.lead--;
        decimal.digits += after ? 2 : 1;
        while (decimal.digits < decimal.end && *decimal.digits == '0') {
            decimal.digits++;
            decimal.lead--;
        }
    }
    while (decimal.end > decimal.digits && (decimal.end[-1] == '0' || decimal.end[-1] == '.'))
        decimal.end--;
    if (decimal.digits == decimal.end) decimal.lead = 0;
    return decimal;
}

bool stores__json_decimal_exact(const struct stores__decimal *decimal, double *value) {
    uint64_t digits = 0;
    int count = 0;
    for (const char *at = decimal->digits; at < decimal->end; at++) {
        if (*at == '.') continue;
        if (++count > STORES__DIGITS_MAX) return false;
        digits = digits * 10 + (uint64_t)(*at - '0');
    }
    if (count == 0) {
        *value = 0; /* "-0" too: jsonb has no other zero */
        return true;
    }
    if (decimal->lead > 400 || decimal->lead < -400) return false;
    if (!stores__digits_exact(digits, (int)decimal->lead - count, value)) return false;
    if (decimal->negative) *value = -*value;
    return true;
}

bool stores__json_decimal_fits(const struct stores__decimal *decimal) {
    return decimal->lead <= NUMERIC_BEFORE_POINT && decimal->scale <= NUMERIC_AFTER_POINT &&
           decimal->exponent < NUMERIC_EXPONENT;
}

static int compare_magnitudes(const struct stores__decimal *a, const struct stores__decimal *b) {
    if (a->lead != b->lead) return a->lead < b->lead ? -1 : 1;
    const char *left = a->digits, *right = b->digits;
    for (;;) {
        if (left < a->end && *left == '.') left++;
        if (right < b->end && *right == '.') right++;
        if (left == a->end || right == b->end) break;
        if (*left != *right) return *left < *right ? -1 : 1;
        left++;
        right++;
    }
    return (left != a->end) - (right != b->end);
}

int stores__json_decimal_compare(const struct stores__decimal *a, const struct stores__decimal *b) {
    bool a_zero = a->digits == a->end, b_zero = b->digits == b->end;
    int a_sign = a_zero ? 0 : a->negative ? -1 : 1, b_sign = b_zero ? 0 : b->negative ? -1 : 1;
    if (a_sign != b_sign) return a_sign < b_sign ? -1 : 1;
    if (a_sign == 0) return 0;
    return a_sign * compare_magnitudes(a, b);
}
