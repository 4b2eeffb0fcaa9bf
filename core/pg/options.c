/* The start-up options of a session ("-c name=value --name=value") as a statement, for poolers and
 * proxies that refuse them. Their words are parted as PostgreSQL does it (pg_split_opts). */
#include "pg/options.h"

#include <ctype.h>

static const char *skip_blanks(const char *at) {
    while (isspace((unsigned char)*at)) at++;
    return at;
}

/* One word, without the backslashes that keep the blanks behind them. */
static const char *read_word(const char *at, struct stores__buf *word) {
    word->len = 0;
    for (at = skip_blanks(at); *at != '\0' && !isspace((unsigned char)*at); at++) {
        if (*at == '\\' && at[1] != '\0') at++;
        stores__buf_add(word, at, 1);
    }
    return at;
}

static void add_quoted(struct stores__buf *sql, const char *text, size_t len, bool name) {
    stores__buf_str(sql, "E'");
    for (size_t i = 0; i < len; i++) {
        char c = name && text[i] == '-' ? '_' : text[i];
        if (c == '\'' || c == '\\') stores__buf_add(sql, "\\", 1);
        stores__buf_add(sql, &c, 1);
    }
    stores__buf_str(sql, "'");
}

static bool add_setting(struct stores__buf *sql, const char *setting) {
    const char *value = setting ? strchr(setting, '=') : NULL;
    if (value == NULL || value == setting) return false;
    stores__buf_str(sql, sql->len ? ", pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    add_quoted(sql, setting, (size_t)(value - setting), true);
    stores__buf_str(sql, ", ");
    add_quoted(sql, value + 1, strlen(value + 1), false);
    stores__buf_str(sql, ", false)");
    return true;
}

char *stores__pg_options_sql(const char *options) {
    struct stores__buf word = {0}, sql = {0};
    bool ok = true;
    while (ok && *(options = skip_blanks(options)) != '\0') {
        options = read_word(options, &word);
        const char *text = stores__buf_text(&word);
        if (text != NULL && strcmp(text, "-c") == 0) {
            options = read_word(options, &word);
            ok = add_setting(&sql, stores__buf_text(&word));
        } else {
            bool known = text && (strncmp(text, "-c", 2) == 0 || strncmp(text, "--", 2) == 0);
            ok = known && add_setting(&sql, text + 2);
        }
    }
    const char *text = stores__buf_text(&sql);
    char *copy = ok && text != NULL ? stores__strdup(text) : NULL;
    stores__buf_free(&word);
    stores__buf_free(&sql);
    return copy;
}

bool stores__pg_options_refused(const char *sqlstate) {
    /* PgBouncer's and others' "unsupported startup parameter", and RDS Proxy's "feature not
     * supported"; the server itself says 42704 or 22023 to what it cannot set */
    return strcmp(sqlstate, "08P01") == 0 || strcmp(sqlstate, "0A000") == 0;
}
