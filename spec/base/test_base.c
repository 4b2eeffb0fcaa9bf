/* test_base.c - lists, buffers, blobs, random text that a fork does not repeat,
 * processes. */
#include "base/base.h"

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void test_list(void) {
    struct stores__list a, b, one, two, three;

    stores__list_init(&a);
    stores__list_init(&b);
    stores__list_init(&three);
    CHECK(stores__list_shift(&a) == NULL);
    stores__list_append(&a, &one);
    stores__list_append(&a, &two);
    stores__list_remove(&three);
    stores__list_append(&b, &three);
    stores__list_move(&a, &b);
    CHECK(stores__list_empty(&a));
    stores__list_move(&a, &b);
    CHECK(stores__list_shift(&b) == &three);
    CHECK(stores__list_shift(&b) == &one);
    stores__list_prepend(&b, &one);
    CHECK(stores__list_shift(&b) == &one);
    CHECK(stores__list_shift(&b) == &two);
    CHECK(stores__list_empty(&b));
}

static void test_buf(void) {
    struct stores__buf buf = {0};
    char big[1000];
    int i;

    CHECK_STR(stores__buf_text(&buf), "");
    stores__buf_str(&buf, "abc");
    stores__buf_add(&buf, NULL, 0);
    stores__buf_fmt(&buf, "-%d-%s", 7, "x");
    CHECK_STR(stores__buf_text(&buf), "abc-7-x");
    CHECK_INT(buf.len, 7);
    memset(big, 'y', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    for (i = 0; i < 10; i++) stores__buf_fmt(&buf, "%s", big);
    CHECK_INT(buf.len, 7 + 9990);
    CHECK_INT(strlen(stores__buf_text(&buf)), buf.len);
    CHECK(!stores__buf_reserve(&buf, SIZE_MAX));
    CHECK(buf.failed);
    stores__buf_str(&buf, "lost");
    CHECK(stores__buf_text(&buf) == NULL);
    stores__buf_free(&buf);
    CHECK(buf.data == NULL && buf.len == 0 && buf.cap == 0 && !buf.failed);
}

static void test_spares(void) {
    struct stores__spares spares = {.size = 40};
    unsigned char *pieces[3];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++) {
            pieces[i] = stores__spares_take(&spares);
            for (size_t at = 0; at < spares.size; at++) CHECK_INT(pieces[i][at], 0);
            memset(pieces[i], 0xff, spares.size);
        }
        CHECK(pieces[0] != pieces[1] && pieces[1] != pieces[2] && pieces[0] != pieces[2]);
        for (int i = 0; i < 3; i++) stores__spares_give(&spares, pieces[i]);
    }
    stores__spares_free(&spares);
    stores__spares_free(&spares);
}

static void release(void *owner) {
    ++*(int *)owner;
}

static void test_blob(void) {
    int released = 0;
    struct stores__blob *blob = stores__blob_new(&released, release);

    CHECK(stores__blob_ref(blob) == blob);
    stores__blob_drop(blob);
    CHECK_INT(released, 0);
    stores__blob_drop(blob);
    CHECK_INT(released, 1);
    stores__blob_drop(NULL);
}

static void test_text(void) {
    char *copy = stores__memdup("a\0b", 3);

    CHECK(memcmp(copy, "a\0b", 4) == 0);
    free(copy);
    copy = stores__strdup("");
    CHECK_STR(copy, "");
    free(copy);
    CHECK(stores__hash("", 0) == UINT64_C(0xcbf29ce484222325));
    CHECK(stores__hash("foobar", 6) == UINT64_C(0x85944171f73967e8));
}

static void test_random(void) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char a[33], b[33];
    int ends[2], status;
    pid_t child;

    CHECK(stores__random_text(a, 32));
    CHECK_INT(strlen(a), 32);
    CHECK_INT(strspn(a, digits), 32);
    CHECK(stores__random_text(b, 0));
    CHECK_STR(b, "");
    CHECK(stores__random_u64() != stores__random_u64());
    if (!CHECK(pipe(ends) == 0)) return;
    child = fork();
    if (child == 0) {
        stores__random_text(a, 32);
        _exit(write(ends[1], a, 33) == 33 ? 0 : 1);
    }
    stores__random_text(a, 32);
    CHECK_INT(read(ends[0], b, 33), 33);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(strcmp(a, b) != 0);
    close(ends[0]);
    close(ends[1]);
}

/* What a descendant of so many forks gives for stores__process; each fork asks, or none does. */
static uint64_t process_after(int forks, int asks) {
    uint64_t number = 0;
    int ends[2];
    pid_t child;

    if (forks == 0) return stores__process();
    if (asks) stores__process();
    if (pipe(ends) != 0) return 0;
    child = fork();
    if (child == 0) {
        number = process_after(forks - 1, asks);
        _exit(write(ends[1], &number, sizeof number) == sizeof number ? 0 : 1);
    }
    if (read(ends[0], &number, sizeof number) != sizeof number) number = 0;
    waitpid(child, NULL, 0);
    close(ends[0]);
    close(ends[1]);
    return number;
}

static void test_process(void) {
    uint64_t own = stores__process(), child = process_after(1, 1), grandchild = process_after(2, 1);

    CHECK(own != 0);
    CHECK(stores__process() == own);
    CHECK(child != 0 && child != own);
    CHECK(grandchild != 0 && grandchild != own && grandchild != child);
    CHECK(process_after(2, 0) != own);
    CHECK(stores__process() == own);
}

int main(void) {
    test_list();
    test_buf();
    test_spares();
    test_blob();
    test_text();
    test_random();
    test_process();
    return check_report();
}
