/* test_json_at.c - where members of a JSON text stand. */
#include "base/json_at.h"

#include "check.h"

/* The value at a path of names, "-" where there is none. */
static const char *at(const char *text, size_t count, const char *const *names) {
    static char copy[128];
    struct stores__buf path = {0};
    const char *value = NULL;
    size_t len = 0;
    for (size_t i = 0; i < count; i++) stores__json_name(&path, names[i]);
    bool found = stores__json_at(text, strlen(text), path.data, count, &value, &len);
    snprintf(copy, sizeof copy, "%.*s", found ? (int)len : 1, found ? value : "-");
    stores__buf_free(&path);
    return copy;
}

static const char *member(const char *text, const char *name) {
    return at(text, 1, &name);
}

int main(void) {
    const char *const deep[] = {"a", "b", "c"};
    CHECK_STR(member("{\"a\": 1, \"b\": 22}", "a"), "1");
    CHECK_STR(member("{\"a\": 1, \"b\": 22}", "b"), "22");
    CHECK_STR(member("{\"a\":1,\"b\":22}", "b"), "22");
    CHECK_STR(member(" { \"a\" : 1 }", "a"), "1");
    CHECK_STR(member("{\"a\": 1}", "b"), "-");
    CHECK_STR(member("{}", "b"), "-");
    CHECK_STR(member("[\"b\", 1]", "b"), "-");
    CHECK_STR(member("\"b\"", "b"), "-");
    CHECK_STR(member("", "b"), "-");
    CHECK_STR(member("{\"ab\": 1, \"b\": \"x\\\"y\"}", "b"), "\"x\\\"y\"");
    CHECK_STR(member("{\"x\": \"b\\\": 1\", \"b\": null}", "b"), "null");
    CHECK_STR(member("{\"x\": {\"b\": 1}, \"y\": [{\"b\": 2}, \"]}\"], \"b\": 3}", "b"), "3");
    CHECK_STR(member("{\"x\": {\"b\": 1}}", "x"), "{\"b\": 1}");
    CHECK_STR(member("{\"x\": [], \"b\": [1, [2]]}", "b"), "[1, [2]]");

    CHECK_STR(at("{\"a\": {\"b\": {\"c\": true}}}", 3, deep), "true");
    CHECK_STR(at("{\"a\": {\"b\": [{\"c\": true}]}}", 3, deep), "-");
    CHECK_STR(at("{\"a\": {\"x\": {\"b\": 1}, \"b\": {\"d\": 1, \"c\": -1.5}}}", 3, deep), "-1.5");
    CHECK_STR(at("{\"a\": 5}", 3, deep), "-");

    /* names as jsonb writes them */
    CHECK_STR(member("{\"q\\\"\\\\\\n\\u0001é\": 7}", "q\"\\\n\001é"), "7");

    /* what is cut off, or no JSON, is found nowhere, and nothing beyond it is read */
    static const char whole[] = "{\"x\": [1, \"\\\"\"], \"b\": \"2\"}";
    for (size_t len = 0; len < sizeof whole - 2; len++) {
        struct stores__buf path = {0};
        char *text = malloc(len + 1); /* the sanitizers' pass sees its end */
        const char *value;
        size_t value_len;
        memcpy(text, whole, len);
        stores__json_name(&path, "b");
        bool found = stores__json_at(text, len, path.data, 1, &value, &value_len);
        CHECK(!found || len == sizeof whole - 2);
        stores__buf_free(&path);
        free(text);
    }
    CHECK_STR(member("{\"a\" 1}", "a"), "-");
    CHECK_STR(member("{a: 1}", "a"), "-");
    return check_report();
}
