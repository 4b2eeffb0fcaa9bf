/* life.c - see life.h. */
#include "cache/life.h"

#include "base/ids.h"
#include "base/json_at.h"
#include "cache/cache.h"

enum { DIGITS_MAX = 15 }; /* of seconds: more is without end */

static bool digits(const char *text, size_t len, int64_t *number) {
    *number = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *number = *number * 10 + (text[i] - '0');
    }
    return len > 0;
}

/* jsonb writes numbers without exponents. What is before 1970 is past as all of that is. */
static bool read_number(const char *value, size_t len, int64_t *seconds) {
    const char *point = memchr(value, '.', len);
    size_t whole = point != NULL ? (size_t)(point - value) : len;
    if (value[0] == '-') {
        *seconds = 0;
        return true;
    }
    return whole <= DIGITS_MAX && digits(value, whole, seconds);
}

/* Days since 1970 of a date of the Gregorian calendar: a year that begins with March ends with the
 * day that it may lack. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    if (month <= 2) year--;
    int64_t since_march = (month + 9) % 12;
    int64_t of_year = (153 * since_march + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719468;
}

/* "2026-07-31T12:00:00Z", with a fraction or without. */
static bool read_text(const char *value, size_t len, int64_t *seconds) {
    static const char form[] = "\"dddd-dd-ddTdd:dd:dd";
    static const struct {
        unsigned char at, len;
    } fields[] = {{1, 4}, {6, 2}, {9, 2}, {12, 2}, {15, 2}, {18, 2}};
    int64_t numbers[6];
    size_t prefix = sizeof form - 1;
    if (len < prefix + 2 || memcmp(value + len - 2, "Z\"", 2) != 0) return false;
    for (size_t i = 0; i < prefix; i++) {
        if (form[i] != 'd' && form[i] != value[i]) return false;
    }
    for (int i = 0; i < 6; i++) {
        if (!digits(value + fields[i].at, fields[i].len, &numbers[i])) return false;
    }
    int64_t rest, fraction = (int64_t)(len - prefix - 2);
    if (fraction > 0 &&
        (value[prefix] != '.' ||
         !digits(value + prefix + 1, (size_t)(fraction > 10 ? 9 : fraction - 1), &rest))) {
        return false;
    }
    int64_t days = days_of(numbers[0], numbers[1], numbers[2]);
    *seconds = ((days * 24 + numbers[3]) * 60 + numbers[4]) * 60 + numbers[5];
    return true;
}

bool stores__expiry_time(const char *value, size_t len, int64_t *seconds) {
    if (len == 0) return false;
    return value[0] == '"' ? read_text(value, len, seconds) : read_number(value, len, seconds);
}

/* What is past already is as good as no row to its readers, and stays as long as that does. */
static uint64_t bounded(const struct stores__table *table, const char *text, size_t len) {
    const stores_config *config = &table->engine->config;
    const struct stores__expiry *expiry = table->expiry;
    const char *value;
    size_t value_len;
    int64_t seconds;
    if (expiry == NULL || expiry->count == 0 ||
        !stores__json_at(text, len, expiry->path, expiry->count, &value, &value_len) ||
        !stores__expiry_time(value, value_len, &seconds)) {
        return UINT64_MAX;
    }
    int64_t left = seconds * 1000 - stores_unix_ms(table->engine);
    return left > 0 ? (uint64_t)left : config->negative_ttl_ms;
}

static uint64_t spread(uint64_t ms) {
    return ms - ms / 10 + stores__random_u64() % (ms / 5 + 1);
}

void stores__cache_ttl(uint64_t ms, char out[24]) {
    stores__id_write((int64_t)spread(ms), out);
}

void stores__cache_life(const struct stores__table *table, const char *text, size_t len,
                        char out[24]) {
    const stores_config *config = &table->engine->config;
    uint64_t ms = spread(text == NULL ? config->negative_ttl_ms : config->ttl_ms);
    uint64_t most = text != NULL ? bounded(table, text, len) : UINT64_MAX;
    stores__id_write((int64_t)(most < ms ? most : ms), out);
}
