/* The rows that a transaction found, to the documents that were asked for. */
#include "write/tx_internal.h"

static int by_id(const void *a, const void *b) {
    const struct stores__doc *x = *(struct stores__doc *const *)a,
                             *y = *(struct stores__doc *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* The documents of the op in the order of their ids; NULL: no memory. */
static struct stores__doc **sort_docs(stores_op *op) {
    struct stores__doc **docs = calloc(op->doc_count + 1, sizeof(*docs));
    if (docs == NULL) return NULL;
    for (size_t i = 0; i < op->doc_count; i++) docs[i] = &op->docs[i];
    qsort(docs, op->doc_count, sizeof *docs, by_id);
    return docs;
}

/* The first of those with this id, or where it would stand. */
static size_t find_doc(struct stores__doc **docs, size_t count, int64_t id) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (docs[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void keep_rows(stores_op *op, struct stores__doc **docs, const struct pg_result *result,
                      struct stores__blob *blob) {
    for (int row = 0; row < stores__pg_rows(result); row++) {
        size_t len = 0;
        const char *id_text = stores__pg_value(result, row, 0, NULL);
        const char *text = stores__pg_value(result, row, 1, &len);
        int64_t id = id_text ? strtoll(id_text, NULL, 10) : 0;
        if (text == NULL) text = "null", len = 4;
        /* an id may be asked for twice; of two rows with one id the first counts */
        for (size_t i = find_doc(docs, op->doc_count, id); i < op->doc_count && docs[i]->id == id;
             i++) {
            if (docs[i]->text != NULL) break;
            stores__op_set_doc(op, (size_t)(docs[i] - op->docs), id, text, len, blob);
        }
    }
}

bool stores__tx_keep_documents(stores_op *op, struct pg_result *result) {
    struct stores__doc *single = op->docs, **docs = op->doc_count == 1 ? &single : sort_docs(op);
    struct stores__blob *blob = docs ? stores__blob_new(result, stores__pg_result_free) : NULL;
    if (blob == NULL) {
        stores__pg_result_free(result);
    } else {
        keep_rows(op, docs, result, blob);
        stores__blob_drop(blob);
    }
    if (docs != &single) free(docs);
    return blob != NULL;
}
