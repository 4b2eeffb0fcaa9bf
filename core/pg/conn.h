/*
 * conn.h - one connection to PostgreSQL: connect, session set-up, pipelined requests, results.
 * Only this room includes libpq; the rest of the core reads results through the functions below.
 *
 * A request is a group of statements up to one Sync, embedded in whoever waits for it. Its results
 * come in order, result() once for each statement, then done() exactly once: when the server
 * confirmed the Sync, or when the connection was lost. Neither is called inside a function that
 * sends, but for done(LOST) on a connection that was closed under its holder. The connection is
 * owned by its pool, which hears of it through its hooks; requests are owned by their callers and
 * must stay until done().
 */
#ifndef STORES_PG_CONN_H
#define STORES_PG_CONN_H

#include <uv.h>

#include "base/err.h"
#include "base/timers.h"
#include "pg/params.h"
#include "pg/shard.h"
#include "sql/known.h"

/* What the names of the engine's prepared statements begin with. */
#define STORES__PG_MARK "stores_"

struct pg_result; /* libpq's PGresult */
struct stores__pg_conn;
struct stores__pg_pool;

enum stores__pg_end {
    STORES__PG_SYNCED, /* the server took everything up to the Sync */
    STORES__PG_LOST /* the connection is gone; what had no result has none */
};

/* What statements are about, a table: all of one may wait for one lock. Embedded in what it is
 * of. */
struct stores__pg_topic {
    int stalled; /* lanes that do not answer, behind a statement about it */
    int checked_out; /* connections that selects of it have for themselves */
    int lanes; /* lanes that finds of it have for themselves */
    uint64_t patience_ms; /* how long the next lane that it stalls is waited for; 0: the shortest */
    uint64_t shy_until; /* uv_now: it lost a lane for others, and asks for no other one before */
};

/* What keeps a request from writing. */
enum stores__pg_kept {
    STORES__PG_MAY_WRITE, /* nothing */
    STORES__PG_KEPT_BY_CALL, /* its caller asked for it */
    STORES__PG_KEPT_IN_READS, /* what a view, a policy or an operator calls: nobody would be told */
    STORES__PG_KEPT_IN_COMMIT /* what runs behind the question which tables were written */
};

struct stores__pg_req {
    struct stores__list link;
    struct stores__pg_topic *topic; /* NULL: of nothing that others are about */
    /* Who hears of a loss asks the same again, and may do so while the server still works on it. */
    bool again;
    bool stalled; /* it heard of a loss for its lane did not answer: that was no try */
    /* Somebody still waits for what it asks. NULL: always. */
    bool (*wanted)(const struct stores__pg_req *req);
    /* index counts the statements from 0. The result is the callee's, who frees it with
     * stores__pg_result_free (or keeps it). May be NULL where it leaves the default: freed. */
    void (*result)(struct stores__pg_req *req, int index, struct pg_result *result);
    void (*done)(struct stores__pg_req *req, enum stores__pg_end end);
    uint64_t begun_at; /* ms of the loop */
    int added; /* statements so far */
    bool after_reset; /* done() comes once the session is reset behind it */
    bool stale; /* the result that was told last failed for a plan that fits no more */
    bool sent; /* the Sync is out: the server may have done all of it */
    /* By Stores: that a write is refused says nothing of the server then. */
    enum stores__pg_kept kept;
};

/* A time in 16 hex digits: how a session writes times and doubles is a setting. Two functions that
 * have one form each: what there are many of (operators, date_part) costs a new session, which has
 * to read all of them, a millisecond. */
#define STORES__PG_TIME_SQL(time) "pg_catalog.encode(pg_catalog.timestamptz_send(" time "), 'hex')"
/* That in microseconds since 1970; 0 where it is none. */
int64_t stores__pg_time(const char *hex);

/* Names a run of the server, after whose end xids of before are used again, and what it committed
 * may be gone. When one backend crashes the postmaster stays and keeps its start time; but all
 * statistics are reset. */
#define STORES__PG_STARTED_SQL STORES__PG_TIME_SQL("pg_catalog.pg_postmaster_start_time()")
#define STORES__PG_WENT_ON_SQL                                                                     \
    STORES__PG_TIME_SQL("pg_catalog.pg_stat_get_bgwriter_stat_reset_time()")
#define STORES__PG_RUN_SQL                                                                         \
    "pg_catalog.concat_ws(' ', " STORES__PG_STARTED_SQL ", " STORES__PG_WENT_ON_SQL ")"

/* What the session told about its server, and what the engine's cache needs to know. */
struct stores__pg_identity {
    char system[24]; /* pg_control_system().system_identifier; "": may not be asked */
    char database[12]; /* its oid: a name may be another database's later */
    char timeline[12]; /* 8 hex digits; "" on a standby */
    char started[48]; /* the server's run, by STORES__PG_RUN_SQL; "": may not be asked */
    char past[32]; /* of the database, for epochs: timeline, start in seconds (8 hex digits each, a
                    * later past is greater), and 12 of a hash of the rest; "" where it is
                    * unknown */
};

/* What may be asked about a server, from all of it to what nobody may refuse: columns of a SELECT
 * (identity.c). */
enum { STORES__PG_IDENTITIES = 5, STORES__PG_IDENTITY_COLUMNS = 4 };
const char *stores__pg_identity_columns(int which);
/* Takes them from a result that begins with them. False: it has not one row of them. */
bool stores__pg_identity_take(struct stores__pg_identity *identity, const struct pg_result *result);

enum stores__pg_place {
    STORES__PG_CONNECTING,
    STORES__PG_IDLE,
    STORES__PG_READING,
    STORES__PG_STALLED, /* a reading lane that does not answer; lanes.c */
    STORES__PG_WRITING,
    STORES__PG_CHECKED_OUT,
    STORES__PG_ASIDE, /* beside the pool, from its connecting on; aside.h */
    STORES__PG_CLOSING,
    STORES__PG_PLACES
};

struct stores__pg_conn {
    struct stores__list link; /* in the list of its place; moved by the pool's mover alone */
    enum stores__pg_place place;
    struct stores__pg_pool *pool;
    struct stores__pg_common *common; /* the pool's */
    struct stores__pg_wire *wire; /* libpq's and libuv's side (wire.h); NULL: gone */
    int in_flight; /* requests whose done() is to come */

    /* who the server is, as it said when this was opened */
    struct stores__pg_identity identity;
    struct stores__pg_shard shard;
    bool standby;
    bool citus; /* its database has tables that are spread over several servers */
    bool worker; /* and it is one of those, not the coordinator */
    char
        warning[6]; /* citus.h: the SQLSTATE of a WARNING of the last request; "": there was none */
    int64_t clock_ms; /* its clock, since 1970, when it was heard at clock_heard_ns (uv_hrtime) */
    uint64_t clock_heard_ns;

    /* its age */
    uint64_t serial; /* counts the engine's connections; a higher one was opened later */
    uint64_t idle_since;
    uint64_t retire_at; /* age limit with jitter: not used again after this */
    bool with_options; /* it was opened with start-up options */

    /* its holder */
    bool held; /* WRITING or CHECKED_OUT: its holder may use it until stores__pg_release */
    bool gone; /* every handle is closed; freed when its holder lets go */
    const char *purpose; /* of a checkout, for messages: "transactions", "queries" */
    struct stores__timer fuse; /* when it is given up, for nobody waits for it */
    struct stores__pg_aside *aside; /* ASIDE: whose it is; NULL otherwise */
    /* For a holder that waits for the server to speak (engine/listen.c); NULL otherwise. */
    void *holder;
    void (*notified)(struct stores__pg_conn *conn, const char *channel, const char *payload);

    /* whether it answers (idle.c, lanes.c) */
    struct stores__pg_req ping; /* an idle connection is asked whether it lives */
    uint64_t pinged_at;
    bool is_another; /* its database says of itself what it did not say when this was opened */
    unsigned silent; /* looks of the pool since it was heard last, while it owes an answer */
    uint64_t stalled_at;
    bool proven; /* STALLED: it had just said that it lives when it was given what it owes */
    struct stores__pg_topic *blamed; /* STALLED: what its first statement is about; NULL: nothing */
    const struct stores__pg_topic *suspect; /* READING: a topic that stalled another lane already */
    /* CHECKED_OUT: what it is used for; READING: who has it alone. NULL: nothing, nobody */
    struct stores__pg_topic *topic;

    /* what a text left in the session is taken back (reset.c) */
    struct stores__pg_req reset;
    bool
        foreign; /* a text that the engine did not write has run: the session may carry its state */
    unsigned texts; /* that ran since the last reset: each may have changed what names mean */
    bool resetting; /* until then nobody else gets the connection */
    bool reset_failed;
    struct stores__pg_req *reset_waiter; /* its done() is to come after the reset */
};

struct stores__pg_stats {
    uint64_t connects, connect_failures, lost, round_trips, statements, prepares, cancels, resets;
};

/* What a connection tells its pool, from the loop. */
struct stores__pg_hooks {
    void (*ready)(struct stores__pg_conn *conn); /* connected and set up */
    void (*failed)(struct stores__pg_conn *conn, const stores_error *error);
    void (*dropped)(struct stores__pg_conn *conn); /* it broke: inside what found out */
    void (*lost)(struct stores__pg_conn *conn); /* after every done(LOST) */
    void (*drained)(struct stores__pg_conn *conn); /* in_flight fell to 0, or its cancel is over */
    void (*heard)(struct stores__pg_conn *conn); /* the server spoke, though it was silent before */
    /* A statement was answered whose topic has stalled lanes. */
    void (*absolved)(struct stores__pg_conn *conn, struct stores__pg_topic *topic);
    void (*read_only)(struct stores__pg_conn *conn); /* the server takes no writes */
    void (*was_reset)(struct stores__pg_conn *conn); /* or not: see reset_failed */
    void (*gone)(struct stores__pg_conn *conn); /* every handle is closed; free it */
};

/* What the connections of a pool have in common; the pool's. What one of them finds out about the
 * server, or about what stands before it, the next ones know. */
struct stores__pg_common {
    const struct stores__pg_hooks *hooks;
    struct stores__pg_params params;
    struct stores__pg_shard_place shard;
    bool citus; /* as the last connection that was opened has it */
    char *on_connect; /* NULL: nothing */
    int identity_asked; /* which question about the server its role may ask (identity.c) */
    unsigned lost_statements; /* prepared ones that were not there, though nobody dropped them */
    bool shares_sessions; /* then a pooler stands in between, which nobody has told us of */
    unsigned generation; /* of prepared statements: those of an older one are forgotten */
    struct stores__sql_texts texts; /* what the texts of callers tell */
    uint64_t heard_at; /* when the server said anything, on whichever connection */
    bool deaf; /* a child of a fork lets go of them: nothing is to reach the server */
    stores_statement_cb statement; /* NULL: nobody is to hear of statements */
    void *statement_arg;
    struct stores__pg_stats stats;
};

/* Starts to connect, with pool and common set; the target is the connection's from here on. False:
 * no memory or no socket; nothing was started. */
bool stores__pg_conn_start(struct stores__pg_conn *conn, uv_loop_t *loop,
                           struct stores__timers *timers, struct stores__pg_target *target,
                           uint64_t connect_timeout_ms, bool pooler);
/* Closes it: pending requests get done(LOST) first. Ends with gone(). */
void stores__pg_conn_close(struct stores__pg_conn *conn);

/* In a child of a fork: closes the parent's socket, with the deaf one in its place
 * (base/deaf.h). */
void stores__pg_deafen(struct stores__pg_conn *conn, int deaf);

/* Takes it for lost; that is told on a later turn. */
void stores__pg_lose(struct stores__pg_conn *conn);

/* Begins a request; statements are then added and it is ended by a Sync. */
void stores__pg_begin(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* Adds a statement with text parameters (copied). prepare: the text will come again, so that it
 * is worth a prepared statement. Where there is no memory, or the connection breaks, done() of the
 * request tells it. */
void stores__pg_add(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql,
                    int nparams, const char *const *values, bool prepare);
/* The same with arrays (array.h) for parameters. */
void stores__pg_add_arrays(struct stores__pg_conn *conn, struct stores__pg_req *req,
                           const char *sql, int count, const struct stores__buf *arrays);
/* Has the server answer the statements so far before it begins the next one, which may take
 * long. */
void stores__pg_hurry(struct stores__pg_conn *conn);
/* Ends the request and sends it: one write where the socket takes it all. */
void stores__pg_sync(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* The same for the last request of a holder: where a text of somebody ran, the session is reset
 * right behind it, without another round trip. Where the text itself may have left something (a
 * lock), its caller hears that it is over when that is gone. */
void stores__pg_sync_last(struct stores__pg_conn *conn, struct stores__pg_req *req);
/* A text that the engine did not write is about to run, or has (a trigger; sql NULL): where it may
 * have an effect on the session, it is foreign from now on. Whatever the text leaves in the session
 * (settings, a role, temporary tables, locks, prepared statements) nobody else is to find there. */
void stores__pg_foreign(struct stores__pg_conn *conn, const char *sql);
/* Resets the session of an idle connection; the pool hears when that is over. */
void stores__pg_reset(struct stores__pg_conn *conn);
/* Several statements in one text: leaves pipeline mode for it; the connection has nothing else in
 * flight. result() comes for each statement that gives one. */
void stores__pg_simple(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql);
/* COPY .. FROM STDIN, which reads data: as stores__pg_simple. The data stay until done(). */
void stores__pg_copy(struct stores__pg_conn *conn, struct stores__pg_req *req, const char *sql,
                     const char *data, size_t len);
/* Whether the server asked for the data of the last one. */
bool stores__pg_copy_was_taken(const struct stores__pg_conn *conn);
/* The process that the server, or a pooler before it, said is to be canceled; 0: not connected. */
int stores__pg_process(const struct stores__pg_conn *conn);
/* How long a cancel may take to end a statement before its connection is given up (insist.h). */
enum { STORES__PG_GRACE_MS = 5000 };
/* Asks the server to cancel what runs on the connection, off the loop's thread. */
void stores__pg_cancel(struct stores__pg_conn *conn);

/* ---- A connection that does not answer (forsake.c) ------------------------------------------- */

/* What its first statement is about; NULL: nothing that others are about, or it owes no answer. */
struct stores__pg_topic *stores__pg_stuck_on(const struct stores__pg_conn *conn);
/* Takes those of its requests off it that may be asked again, but for those about `stay` (NULL:
 * none stays): they hear of a loss, and the answers that come all the same go to nobody. */
void stores__pg_forsake(struct stores__pg_conn *conn, const struct stores__pg_topic *stay);
/* Somebody still waits for one of its answers. */
bool stores__pg_is_wanted(const struct stores__pg_conn *conn);
/* That its requests are about to hear of a loss is for its silence. */
void stores__pg_blame_silence(struct stores__pg_conn *conn);

/* ---- What is known of it --------------------------------------------------------------------- */

/* It is not known to be lost; from the loss on, until the pool hears of it, it is not up. */
bool stores__pg_is_up(const struct stores__pg_conn *conn);
/* ReadyForQuery said idle, nothing is in flight, no cancel is on its way. */
bool stores__pg_is_idle(const struct stores__pg_conn *conn);
/* As far as an idle connection's socket tells without a round trip: the server has not closed
 * it. */
bool stores__pg_is_alive(struct stores__pg_conn *conn);
/* Takes what has come meanwhile, as the loop would in its next turn; who is told hears it in here.
 * False: nothing has. */
bool stores__pg_glance(struct stores__pg_conn *conn);
/* ReadyForQuery said that a transaction is open (also a failed one). */
bool stores__pg_in_transaction(const struct stores__pg_conn *conn);
/* A statement of the open transaction failed: nothing but its end is possible. */
bool stores__pg_has_failed(const struct stores__pg_conn *conn);
/* Forgets the prepared statements, after DDL made one of them useless; those of the other
 * connections of the pool as well, for they are as old. */
void stores__pg_forget_statements(struct stores__pg_conn *conn);
/* The server's setting as it reported it ("in_hot_standby"), or "". */
const char *stores__pg_parameter(const struct stores__pg_conn *conn, const char *name);

/* ---- Results -------------------------------------------------------------------------------- */

void stores__pg_result_free(void *result);
/* False where the statement failed, and then error is filled in (outcome none). An aborted
 * statement, one that stands behind a failed one, is error with code OK and no text. */
bool stores__pg_result_ok(const struct pg_result *result, stores_error *error);
int stores__pg_rows(const struct pg_result *result);
int stores__pg_columns(const struct pg_result *result);
const char *stores__pg_column(const struct pg_result *result, int column);
uint32_t stores__pg_column_type(const struct pg_result *result, int column);
/* NULL: SQL's NULL; len may be NULL. */
const char *stores__pg_value(const struct pg_result *result, int row, int column, size_t *len);
int64_t stores__pg_affected(const struct pg_result *result);
const char *stores__pg_tag(const struct pg_result *result); /* "COMMIT", "UPDATE 1" */
/* A write that we keep from writing is never taken later; the hint says why that is. */
void stores__pg_explain_read_only(const struct stores__pg_req *req, stores_error *error);
/* Whether somebody else had a statement of the request canceled (a cancel may hit a neighbour), and
 * not the session's limit for statements, which had not passed since the request began: what was
 * canceled so may run again. The server's words are its language's, and its code is the same for
 * both. */
bool stores__pg_stray_cancel(const struct stores__pg_conn *conn, const struct stores__pg_req *req,
                             const stores_error *error);
/* In result(): the statement has to be prepared again, for the plan it had does not fit any
 * more. */
bool stores__pg_stale_plan(const struct stores__pg_req *req);
bool stores__pg_has_rows(const struct pg_result *result);

#endif
