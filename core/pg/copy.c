/*
 * COPY from the client: what the server is to read goes out in pieces, as the socket takes them, so
 * that libpq keeps no copy of all of it. An error of the server's is read once all is sent: until
 * then it throws away what comes.
 */
#include "pg/wire.h"

enum { PIECE = 64 * 1024 };

void stores__pg_copy(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql,
                     const char *data, size_t len) {
    if (conn->wire != NULL) {
        conn->wire->copy = (struct stores__pg_copying){.data = data, .len = len};
    }
    stores__pg_simple(conn, req, sql);
}

/* What the socket does not take at once is libpq's. Gives what PQflush does. */
static int put_piece(struct stores__pg_wire *wire) {
    struct stores__pg_copying *copy = &wire->copy;
    size_t left = copy->len - copy->at, piece = left < PIECE ? left : PIECE;
    int put = PQputCopyData(wire->pg, copy->data + copy->at, (int)piece);
    if (put == 1) copy->at += piece;
    return put == 0 ? 1 : put < 0 ? -1 : PQflush(wire->pg);
}

void stores__pg_copy_feed(struct stores__pg_wire *wire) {
    struct stores__pg_copying *copy = &wire->copy;
    int left = 0;
    while (left == 0 && copy->at < copy->len) left = put_piece(wire);
    if (left > 0) {
        stores__pg_watch(wire, UV_READABLE | UV_WRITABLE);
        return;
    }
    copy->feeding = false;
    if (left < 0 || PQputCopyEnd(wire->pg, NULL) != 1) {
        stores__pg_break(wire);
    } else {
        stores__pg_flush(wire);
    }
}

bool stores__pg_copy_was_taken(const struct stores__pg_conn *conn) {
    return conn->wire != NULL && conn->wire->copy.at > 0;
}

bool stores__pg_copy_takes(struct stores__pg_wire *wire, const PGresult *result) {
    if (PQresultStatus(result) != PGRES_COPY_IN || wire->copy.data == NULL) return false;
    if (stores__pg_ring_at(&wire->ring, 0)->kind != ENTRY_SIMPLE) return false;
    wire->copy.feeding = true;
    return true;
}
