#include "write/arguments.h"

#include "base/sized.h"

bool stores__params_fit(stores_op *op, const stores_params **given, stores_params *own) {
    stores_error error;
    if (*given == NULL) return true;
    const stores_params *params = *given = stores__params_given(*given, own, &error);
    if (params == NULL) {
        stores__op_fail(op, &error);
        return false;
    }
    if (params->count == 0) return true;
    if (params->count > 0 && params->count <= 65535) {
        if (params->values != NULL) return true;
        stores__op_failf(op, STORES_INVALID_ARGUMENT, "the values of the parameters are missing");
        return false;
    }
    stores__op_failf(op, STORES_INVALID_ARGUMENT, "PostgreSQL takes 65535 parameters at most");
    return false;
}

bool stores__query_options_fit(stores_op *op, const stores_query_options **given,
                               stores_query_options *own) {
    stores_error error;
    if (*given == NULL) return true;
    *given = stores__query_options_given(*given, own, &error);
    if (*given == NULL) stores__op_fail(op, &error);
    return *given != NULL;
}

char *stores__params_copy(const stores_params *params, const char ***values) {
    struct stores__buf buf = {0};
    int count = params ? params->count : 0;
    *values = calloc((size_t)count + 1, sizeof **values);
    stores__buf_add(&buf, "", 1);
    for (int i = 0; i < count; i++) {
        if (params->values[i])
            stores__buf_add(&buf, params->values[i], strlen(params->values[i]) + 1);
    }
    if (*values == NULL || buf.failed) {
        free(*values);
        *values = NULL;
        stores__buf_free(&buf);
        return NULL;
    }
    const char *at = buf.data + 1;
    for (int i = 0; i < count; i++) {
        (*values)[i] = params->values[i] ? at : NULL;
        if (params->values[i]) at += strlen(at) + 1;
    }
    return buf.data;
}

bool stores__text_fits(const struct stores__sql_known *known, bool may_control,
                       stores_error *error) {
    if (known->copies) {
        stores__error_set(error, STORES_UNSUPPORTED,
                          "COPY from or to the client is not possible in a query");
    } else if (known->controls && !may_control) {
        stores__error_set(error, STORES_UNSUPPORTED,
                          "a query does not begin, end or prepare transactions");
    } else {
        return true;
    }
    return false;
}
