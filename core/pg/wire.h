/*
 * wire.h - what the files of this room share of one connection: libpq's and libuv's side of it.
 * Nobody else looks in here.
 */
#ifndef STORES_PG_WIRE_H
#define STORES_PG_WIRE_H

#include <libpq-fe.h>

#include "pg/conn.h"
#include "pg/ring.h"
#include "pg/session.h"

/*
 * Where a wire stands. It goes down this list and never up, and stores__pg_enter is what moves it:
 *
 *   CONNECTING   libpq's connection loop (connect.c)
 *   GREETING     the server says who it is (greet.c)
 *   UP           requests and answers (conn.c, answers.c)
 *   BROKEN       lost; nobody was told yet: that is the timer's (wire.c), on a later turn
 *   CLOSED       its pool let go of it; it may wait for answers that nobody hears (leave.c)
 *
 * From every one to BROKEN, from every one to CLOSED. Freed once CLOSED and without open handles.
 */
enum stores__pg_phase { WIRE_CONNECTING, WIRE_GREETING, WIRE_UP, WIRE_BROKEN, WIRE_CLOSED };

enum { STATEMENT_MARK = 24, STATEMENT_NAME = STATEMENT_MARK + 16 };

struct stores__pg_statement {
    struct stores__pg_statement *chain; /* of its hash bucket */
    struct stores__list lru;
    uint64_t hash;
    unsigned number; /* never used twice on a connection */
    char name[STATEMENT_NAME]; /* <wire's mark>_<number> */
    char sql[];
};

enum { STATEMENT_BUCKETS = 256, STATEMENTS_MAX = 256 };

/* What a COPY of the first entry is to read; all zero: there is none. */
struct stores__pg_copying {
    const char *data; /* the caller's */
    size_t len, at;
    bool feeding; /* the server takes it: until it has all, libpq has nothing to say */
};

struct stores__pg_wire {
    struct stores__pg_conn *conn;
    PGconn *pg;
    uv_loop_t *loop;
    struct stores__timers *timers;
    struct stores__pg_target *target;
    enum stores__pg_phase phase;
    bool pooler;

    uv_poll_t *poll; /* on its own heap memory: libuv lets go of it later than we do */
    /* Who is called when the socket is ready: connect.c's until it is connected, then answers.c's,
     * leave.c's when it is closed. It changes while nothing is watched. */
    uv_poll_cb on_socket;
    int fd, events;
    uv_idle_t life; /* never started; its closing is what frees the wire from the loop */
    int open_handles; /* life, polls and cancels that libuv still has, and callbacks on the stack */
    struct stores__pg_cancel *cancel; /* under way: it may hit whatever runs then */
    struct stores__timer timer; /* connecting: the deadline; later: a loss to be told */

    struct stores__pg_ring ring; /* what the server still owes an answer for */
    bool taking; /* what was answered, at this moment */
    bool behind; /* a request in flight was sent before the one ahead of it was answered */
    size_t owed; /* WIRE_CLOSED: Syncs whose answers it still waits for (leave.c) */
    PGresult *prepare_error; /* why the statement behind it was aborted */
    struct stores__pg_copying copy;
    struct stores__pg_req greeting;
    struct stores__pg_req nobody; /* who gets the answers that come too late (forsake.c) */
    struct stores__pg_session session;
    bool asked_again; /* the greeting, with settings before it */
    bool has_shard; /* the database has the table that says which shard it is, or may have */
    stores_error not_told; /* why the server did not say who it is */
    stores_error refused; /* by on_connect */
    uint64_t answered_ns; /* when the last statement with a trace was answered */

    struct stores__pg_statement *buckets[STATEMENT_BUCKETS];
    struct stores__list lru; /* the longest unused first */
    int statement_count;
    unsigned next_statement;
    /* What the names of this connection's statements begin with, and nobody else's: where a pooler
     * shares sessions among processes, a name that two of them have is the other one's
     * statement. */
    char mark[STATEMENT_MARK];
    unsigned generation; /* the pool's, when the statements were made */
    /* A text made or dropped prepared statements: all go, and none is made before. */
    bool deallocate;
    /* The transaction had failed when the request began: no DEALLOCATE before its end. */
    bool in_error;
};

/* wire.c */
void stores__pg_enter(struct stores__pg_wire *wire, enum stores__pg_phase phase);
/* Takes it for lost: on a later turn every request hears of it, then the pool. */
void stores__pg_break(struct stores__pg_wire *wire);
/* It will not be a connection that is of use, and why: the pool hears of it at once. */
void stores__pg_connect_failed(struct stores__pg_wire *wire, const stores_error *error);
/* Calls on_socket at these events of libpq's socket, which may have become another one. */
void stores__pg_watch(struct stores__pg_wire *wire, int events);
void stores__pg_unwatch(struct stores__pg_wire *wire);
/* Sends what libpq has, as far as the socket takes it, and goes on when it takes more. */
void stores__pg_flush(struct stores__pg_wire *wire);
/* A request is over. Its holder may close the connection in there. */
void stores__pg_finish(struct stores__pg_wire *wire, struct stores__pg_req *req,
                       enum stores__pg_end end);
/* What is owed will not come any more. */
void stores__pg_fail_pending(struct stores__pg_wire *wire);
/* One of open_handles fewer; the last one of a closed wire frees it, and the pool hears that it is
 * gone. */
void stores__pg_handle_gone(struct stores__pg_wire *wire);
/* In on_socket: whose socket it is. NULL: it is the parent's, of whom this process is a child. */
static inline struct stores__pg_wire *stores__pg_wire_of(const uv_poll_t *poll, int status) {
    struct stores__pg_wire *wire = poll->data;
    if (wire->timers->process != stores__process()) return NULL;
    if (status < 0) wire->events = 0; /* libuv has stopped watching */
    return wire;
}

/* What libpq gives again and again until somebody copies. */
static inline bool stores__pg_is_copy(ExecStatusType status) {
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* greet.c: it is connected, and asks who the server is */
void stores__pg_greet(struct stores__pg_wire *wire);

/* answers.c: on_socket of a connection that is connected */
void stores__pg_on_answer(uv_poll_t *poll, int status, int events);

/* copy.c */
/* Whether a result says that the server reads what a COPY of ours has for it. */
bool stores__pg_copy_takes(struct stores__pg_wire *wire, const PGresult *result);
/* Sends as much of it as the socket takes. The wire may be broken then. */
void stores__pg_copy_feed(struct stores__pg_wire *wire);

/* conn.c: stores__pg_add for a statement of this kind */
void stores__pg_add_entry(struct stores__pg_conn *conn, struct stores__pg_req *req,
                          enum stores__pg_entry_kind kind, const char *sql, int nparams,
                          const char *const *values, bool prepare);

/* leave.c */
/* How many Syncs a wire that is about to be closed has to wait for; 0: it may go at once. */
size_t stores__pg_leave_owes(const struct stores__pg_wire *wire);
/* Waits for them on a closed wire, which it ends then. False: it need not, or cannot. */
bool stores__pg_leave(struct stores__pg_wire *wire, size_t owed);
void stores__pg_end(struct stores__pg_wire *wire); /* the last thing: lets go of the socket */

/* reset.c: what the server said to a statement of a reset */
void stores__pg_reset_took(struct stores__pg_wire *wire, PGresult *result);

/* trace.c: of a statement that is sent, that was answered, that was lost with its connection */
void stores__pg_trace_start(struct stores__pg_wire *wire, struct stores__pg_entry *entry,
                            const char *sql);
void stores__pg_trace_answer(struct stores__pg_wire *wire, const struct stores__pg_entry *entry,
                             const PGresult *result);
void stores__pg_trace_lost(struct stores__pg_wire *wire, const struct stores__pg_entry *entry);

/* cancel.c */
void stores__pg_cancel_forget(struct stores__pg_wire *wire); /* the connection is being closed */

/* statements.c */
/* The statement of this text, made (and its PREPARE sent, *fresh) where there is none. NULL: no
 * memory, or the connection broke. */
struct stores__pg_statement *stores__pg_statement_get(struct stores__pg_wire *wire,
                                                      struct stores__pg_req *req, const char *sql,
                                                      int nparams, bool *fresh);
/* Whether a statement failed because what was prepared before fits no more, or is not there. */
bool stores__pg_statement_is_stale(struct stores__pg_wire *wire,
                                   const struct stores__pg_entry *entry, const PGresult *result);
void stores__pg_statement_drop(struct stores__pg_wire *wire, unsigned number);
void stores__pg_statements_clear(struct stores__pg_wire *wire);

/* Has the server look, while a statement runs, whether its client is still there: what a process
 * that was killed had asked for would run to its end. Since PostgreSQL 14, where the server's
 * system can; not where the user says something else, nor behind a pooler, whose clients are
 * others. */
#define STORES__PG_CHECK_SQL                                                                       \
    "CASE WHEN pg_catalog.current_setting('client_connection_check_interval', true) = '0'"         \
    " AND pg_catalog.version() LIKE '%-linux-%'"                                                   \
    " THEN pg_catalog.set_config('client_connection_check_interval', '1s', false) END"

static inline bool stores__pg_checks_client(const struct stores__pg_wire *wire) {
    return PQserverVersion(wire->pg) >= 140000 && !wire->pooler;
}

#endif
