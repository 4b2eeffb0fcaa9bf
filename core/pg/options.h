/* options.h - start-up options as a statement, where somebody on the way refuses them. */
#ifndef STORES_PG_OPTIONS_H
#define STORES_PG_OPTIONS_H

#include "base/base.h"

/* The statement that sets the same, the caller's to free. NULL: no memory, or something among them
 * is no setting. */
char *stores__pg_options_sql(const char *options);
/* A connection that failed so may succeed without start-up options. */
bool stores__pg_options_refused(const char *sqlstate);

#endif
