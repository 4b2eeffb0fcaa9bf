/*
 * deaf.h - in a child of a fork the sockets are the parent's as well: whoever says good-bye on one
 * says it for the parent. What closes them later, libpq, hiredis or libuv, finds a socket in their
 * place that nobody is at the other end of.
 */
#ifndef STORES_DEAF_H
#define STORES_DEAF_H

/* A socket whose other end is closed: it reads as ended, and takes nothing. The caller's to close.
 * -1: there is no descriptor left. */
int stores__deaf_socket(void);
/* Closes fd, in this process alone, and gives its number to the socket. Harmless for -1. */
void stores__deafen(int fd, int deaf);

#endif
