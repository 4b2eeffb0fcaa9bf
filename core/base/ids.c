/* ids.c - see ids.h. */
#include "base/ids.h"

#include "base/err.h"
#include "base/sized.h"

#define SHOWN 40 /* of a wrong id, in the message */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The id as a message may show it: cut, and without bytes that could garble a log. */
static const char *show(const char *text, size_t len, char out[SHOWN + 4]) {
    size_t i, n = len < SHOWN ? len : SHOWN;

    for (i = 0; i < n; i++) out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    memcpy(out + n, "...", 4);
    if (n == len) out[n] = '\0';
    return out;
}

/* A decimal that is not canonical: says what its canonical form is. */
static bool refuse_form(const char *shown, const char *digits, size_t count, bool negative,
                        const char *what, stores_error *e) {
    while (count > 1 && *digits == '0') {
        digits++;
        count--;
    }
    if (count == 1 && *digits == '0') negative = false;
    if (count > 19) {
        stores__error_set(e, STORES_INVALID_ID, "the id '%s' has %s", shown, what);
    } else {
        stores__error_set(e, STORES_INVALID_ID, "the id '%s' has %s: write '%s%.*s'", shown, what,
                          negative ? "-" : "", (int)count, digits);
    }
    return false;
}

static const char *why_not_decimal(const char *text, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        if (text[i] == '\0') return "contains a zero byte";
        if (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r')) return "contains white space";
    }
    for (i = 0; i < len && (is_digit(text[i]) || (i == 0 && (*text == '-' || *text == '+'))); i++) {
    }
    if (i > 0 && i < len && is_digit(text[i - 1])) {
        if (text[i] == '.') return "is a fraction";
        if (text[i] == 'e' || text[i] == 'E') return "is in exponent form";
    }
    return "is not a decimal number";
}

bool stores__id_parse(const char *text, size_t len, int64_t *id, stores_error *e) {
    char room[SHOWN + 4];
    const char *shown = "";
    bool negative = len > 0 && *text == '-';
    size_t sign = negative || (len > 0 && *text == '+') ? 1 : 0, count = len - sign, i;
    uint64_t limit = (uint64_t)INT64_MAX + negative, value = 0;

    if (len == 0) {
        stores__error_set(e, STORES_INVALID_ID, "the id is an empty string");
        return false;
    }
    for (i = sign; i < len && is_digit(text[i]); i++) {
    }
    if (i < len || count == 0 || count > 18 || (count > 1 && text[sign] == '0') || sign) {
        shown = show(text, len, room);
    }
    if (i < len || count == 0) {
        stores__error_set(e, STORES_INVALID_ID, "the id '%s' %s: ids are signed 64-bit decimals",
                          shown, why_not_decimal(text, len));
        return false;
    }
    text += sign;
    if (sign && !negative) return refuse_form(shown, text, count, false, "a plus sign", e);
    if (negative && count == 1 && *text == '0') {
        return refuse_form(shown, text, count, true, "a minus sign before zero", e);
    }
    if (count > 1 && *text == '0') {
        return refuse_form(shown, text, count, negative, "leading zeros", e);
    }
    /* no overflow below 19 digits */
    for (i = 0; i < count && i < 18; i++) value = value * 10 + (unsigned)(text[i] - '0');
    for (; i < count; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (value > (limit - digit) / 10) {
            stores__error_set(e, STORES_INVALID_ID,
                              "the id '%s' is out of range: ids go from "
                              "-9223372036854775808 to 9223372036854775807",
                              shown);
            return false;
        }
        value = value * 10 + digit;
    }
    *id = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool stores_id_parse(const char *text, size_t len, int64_t *id, stores_error *error) {
    stores_error own;
    if (stores__id_parse(text, len, id, &own)) return true;
    stores__error_give(error, &own);
    return false;
}

size_t stores__id_write(int64_t id, char out[STORES__ID_SIZE]) {
    uint64_t value = id < 0 ? 0 - (uint64_t)id : (uint64_t)id;
    char digits[20];
    size_t count = 0, len = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    if (id < 0) out[len++] = '-';
    while (count > 0) out[len++] = digits[--count];
    out[len] = '\0';
    return len;
}
