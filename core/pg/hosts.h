/*
 * hosts.h - the hosts of a connection, out of the comma lists that a user, a service or the
 * environment gives: which there are, and which of them are of this machine.
 */
#ifndef STORES_PG_HOSTS_H
#define STORES_PG_HOSTS_H

#include "pg/params.h"

/* Reads params->hosts. With the user's own addresses (fixed_hostaddr) there is nothing to resolve,
 * and the lists go to libpq as they are. False: *error says why. */
bool stores__pg_hosts_read(struct stores__pg_params *params, const char *hosts, const char *ports,
                           stores_error *error);
void stores__pg_hosts_free(struct stores__pg_params *params);
/* Each of the list is a directory of sockets, or an abstract one. */
bool stores__pg_hosts_are_sockets(const char *hosts);
bool stores__pg_hosts_all_local(const struct stores__pg_params *params);

#endif
