/*
 * test_json_digits.c - the digits of doubles against printf and strtod, over millions of doubles.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/digits.h"

static int failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition) && ++failures <= 20) {                                                    \
            printf("%s:%d: ", __FILE__, __LINE__);                                                 \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Splits "d.ddde-xx" of printf into digits and exponent. */
static struct stores__digits parse_e(const char *text) {
    struct stores__digits result = {0, 0};
    int after = 0, point = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text == '.') {
            point = 1;
        } else {
            result.digits = result.digits * 10 + (uint64_t)(*text - '0');
            after += point;
        }
    }
    result.exponent = atoi(text + 1) - after;
    return result;
}

static double read_back(uint64_t digits, int exponent) {
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 "e%d", digits, exponent);
    return strtod(text, NULL);
}

/* The definition, slowly: the first count of digits at which a decimal reads back; beside a power
 * of two the nearest decimal may fail where its neighbour does not. */
static struct stores__digits slow_shortest(double value) {
    for (int count = 1; count <= 17; count++) {
        char text[64];
        snprintf(text, sizeof text, "%.*e", count - 1, value);
        struct stores__digits near = parse_e(text);
        for (int step = 0; step < 3; step++) {
            static const int offsets[] = {0, 1, -1};
            struct stores__digits tried = near;
            tried.digits += (uint64_t)(int64_t)offsets[step];
            if (tried.digits == 0 || read_back(tried.digits, tried.exponent) != value) continue;
            while (tried.digits % 10 == 0) {
                tried.digits /= 10;
                tried.exponent++;
            }
            return tried;
        }
    }
    return (struct stores__digits){0, 0};
}

static void check_slowly(double value) {
    struct stores__digits fast = stores__digits_shortest(value), slow = slow_shortest(value);
    CHECK(fast.digits == slow.digits && fast.exponent == slow.exponent,
          "%.17g: %" PRIu64 "e%d, not %" PRIu64 "e%d", value, fast.digits, fast.exponent,
          slow.digits, slow.exponent);
}

/* What holds for every finite double above 0, and is cheap to check. */
static void check_double(double value) {
    struct stores__digits found = stores__digits_shortest(value);
    CHECK(found.digits % 10 != 0 && found.digits < UINT64_C(100000000000000000), "%.17g: %" PRIu64,
          value, found.digits);
    double again = stores__digits_nearest(found.digits, found.exponent);
    CHECK(again == value, "%.17g comes back as %.17g", value, again);
    CHECK(stores__digits_exact(found.digits, found.exponent, &again), "%.17g is not exact", value);
}

static void check_text(double value, const char *expected) {
    char text[STORES__DIGITS_ROOM + 1];
    size_t len = stores__digits_write(text, value);
    text[len] = 0;
    CHECK(strcmp(text, expected) == 0, "%.17g is written %s, not %s", value, text, expected);
}

static void check_known(void) {
    check_text(0.0, "0");
    check_text(-0.0, "0");
    check_text(1, "1");
    check_text(-1, "-1");
    check_text(0.1 + 0.2, "0.30000000000000004");
    check_text(0.1, "0.1");
    check_text(-1.5, "-1.5");
    check_text(123456.789, "123456.789");
    check_text(9007199254740991.0, "9007199254740991");
    check_text(9007199254740992.0, "9007199254740992");
    check_text(9007199254740994.0, "9007199254740994");
    check_text(1e15, "1000000000000000");
    check_text(1e20, "100000000000000000000");
    check_text(1e21, "1e21");
    check_text(123456789012345680000.0, "123456789012345680000");
    check_text(1e23, "1e23");
    check_text(1e300, "1e300");
    check_text(0.000001, "0.000001");
    check_text(0.0000012345, "0.0000012345");
    check_text(0.0000001, "1e-7");
    check_text(5e-324, "5e-324");
    check_text(1e-323, "1e-323");
    check_text(DBL_MIN, "2.2250738585072014e-308");
    check_text(DBL_MAX, "1.7976931348623157e308");
    check_text(-DBL_MAX, "-1.7976931348623157e308");
    check_text(from_bits(UINT64_C(0x3d30000000000000)), "5.684341886080802e-14");
    check_text(0.00000123456789012345678, "0.0000012345678901234567");
}

static void check_exactness(void) {
    static const struct {
        uint64_t digits;
        int exponent;
        bool exact;
    } cases[] = {
        {0, 0, true},
        {0, 400, true},
        {1, 300, true},
        {1, 308, true},
        {1, 309, false},
        {1, 400, false},
        {1, -400, false},
        {5, -324, true},
        {3, -324, false},
        {4, -324, false},
        {49, -325, false},
        {1, -323, true},
        {22250738585072014, -324, true},
        {17976931348623157, 292, true},
        {17976931348623158, 292, false},
        {9007199254740991, 0, true},
        {9007199254740992, 0, true},
        {9007199254740993, 0, false},
        {9007199254740994, 0, true},
        {1700000000123456, 0, true},
        {30000000000000004, -17, true},
        {30000000000000003, -17, false},
        {100000000000000000, 0, true},
        {1000000000000000000, -18, true},
        {1000000000000000001, -18, false},
        {1, 23, true},
        {UINT64_MAX, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value;
        bool exact = stores__digits_exact(cases[i].digits, cases[i].exponent, &value);
        CHECK(exact == cases[i].exact, "%" PRIu64 "e%d: %d", cases[i].digits, cases[i].exponent,
              exact);
    }
}

/* Every power of two, and what stands beside it: the interval is lopsided there. */
static void check_powers_of_two(void) {
    for (int exponent = -1074; exponent <= 1023; exponent++) {
        double power = ldexp(1, exponent);
        for (int step = -2; step <= 2; step++) {
            double value = from_bits(to_bits(power) + (uint64_t)(int64_t)step);
            if (!(value > 0) || value > DBL_MAX) continue;
            check_double(value);
            check_slowly(value);
        }
    }
}

static void check_powers_of_ten(void) {
    for (int exponent = -340; exponent <= 308; exponent++) {
        for (uint64_t digits = 1; digits < 100; digits++) {
            double value = stores__digits_nearest(digits, exponent);
            double truth = read_back(digits, exponent);
            CHECK(to_bits(value) == to_bits(truth), "%" PRIu64 "e%d", digits, exponent);
        }
    }
}

/* Random decimals of up to 19 digits: nearest agrees with strtod, exact with the definition. */
static void check_random_decimals(int count) {
    for (int i = 0; i < count; i++) {
        uint64_t digits = next_random() >> (next_random() % 60);
        int exponent = (int)(next_random() % 700) - 360;
        if (i % 2) exponent = (int)(next_random() % 40) - 30;
        double value, truth = read_back(digits, exponent);
        bool exact = stores__digits_exact(digits, exponent, &value);
        CHECK(to_bits(value) == to_bits(truth), "%" PRIu64 "e%d", digits, exponent);
        if (digits == 0 || truth == 0 || truth > DBL_MAX) continue;
        struct stores__digits shortest = stores__digits_shortest(truth);
        while (digits % 10 == 0) {
            digits /= 10;
            exponent++;
        }
        bool same = digits == shortest.digits && exponent == shortest.exponent;
        CHECK(exact == same, "%" PRIu64 "e%d: exact is %d", digits, exponent, exact);
    }
}

/* Odd integers of 54 bits lie in the middle of two doubles. */
static void check_halfway(int count) {
    for (int i = 0; i < count; i++) {
        uint64_t odd = next_random() >> 10 | UINT64_C(1) << 53 | 1;
        double value = stores__digits_nearest(odd, 0), truth = read_back(odd, 0);
        CHECK(to_bits(value) == to_bits(truth), "halfway %" PRIu64, odd);
    }
}

int main(int argc, char **argv) {
    int millions = argc > 1 ? atoi(argv[1]) : 3;
    stores__digits_init();
    stores__digits_init();
    check_known();
    check_exactness();
    check_powers_of_two();
    check_powers_of_ten();
    check_halfway(100000);
    check_random_decimals(millions * 100000);
    for (int i = 0; i < millions * 1000000; i++) {
        double value = from_bits(next_random() >> 1);
        if (value > 0 && value <= DBL_MAX) check_double(value);
    }
    for (int i = 0; i < millions * 1000000; i++) {
        double value = (double)(next_random() % 1000000000) / 1e4;
        if (value > 0) check_double(value);
    }
    for (int i = 0; i < millions * 10000; i++) {
        double value = from_bits(next_random() >> 1);
        if (value > 0 && value <= DBL_MAX) check_slowly(value);
        check_slowly(from_bits(next_random() >> 12 | 1)); /* subnormal */
        check_slowly((double)(next_random() >> 11) / 9007199254740992.0 + 1e-9);
    }
    if (failures) printf("%d failures\n", failures);
    return failures != 0;
}
