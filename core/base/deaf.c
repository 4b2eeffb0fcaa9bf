#include "base/deaf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int stores__deaf_socket(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return -1;
    close(ends[1]);
    return ends[0];
}

void stores__deafen(int fd, int deaf) {
    if (fd < 0) return;
    while (dup3(deaf, fd, O_CLOEXEC) < 0 && (errno == EINTR || errno == EBUSY)) {
    }
}
