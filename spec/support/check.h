/*
 * check.h - what the unit specs assert with. A check that fails is printed and counted, and the
 * program goes on; main ends with `return check_report();`.
 */
#ifndef STORES_CHECK_H
#define STORES_CHECK_H

#include <stdio.h>
#include <string.h>

static int check_passed, check_failed;

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(got, want)                                                                       \
    check_int((long long)(got), (long long)(want), #got, __FILE__, __LINE__)
#define CHECK_STR(got, want) check_str((got), (want), #got, __FILE__, __LINE__)

static inline int check_that(int holds, const char *what, const char *file, int line) {
    if (holds) {
        check_passed++;
    } else {
        check_failed++;
        printf("%s:%d: not so: %s\n", file, line, what);
    }
    return holds;
}

static inline int check_int(long long got, long long want, const char *what, const char *file,
                            int line) {
    if (got != want) printf("%s:%d: %s is %lld, not %lld\n", file, line, what, got, want);
    return check_that(got == want, what, file, line);
}

static inline int check_str(const char *got, const char *want, const char *what, const char *file,
                            int line) {
    int same = got && strcmp(got, want) == 0;

    if (!same) {
        printf("%s:%d: %s is \"%s\", not \"%s\"\n", file, line, what, got ? got : "NULL", want);
    }
    return check_that(same, what, file, line);
}

static inline int check_report(void) {
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed ? 1 : 0;
}

#endif
