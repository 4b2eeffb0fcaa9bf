/*
 * tx_internal.h - a transaction as its own files see it, each calling those below it:
 *
 *     tx_ops.c      what callers may ask of it, one call (a txop) at a time
 *     tx.c          its life: connection, what comes behind each call, COMMIT or ROLLBACK
 *     txop.c        such a call: its memory, its answer
 *     tx_send.c     what a call sends, and what its results are of
 *     tx_deadline.c when it is late, and what comes of that
 *     tx_bulk.c     what the statement of many rows sends, and gave
 *     tx_facts.c, tx_docs.c, starve.c
 *
 * Its state goes one way: NEW ──> OPEN ──> ENDING ──> ENDED, or from any of them to a later one.
 * Who ended it before its caller did stands in ended_by; freed says that its caller has let go of
 * it.
 */
#ifndef STORES_TX_INTERNAL_H
#define STORES_TX_INTERNAL_H

#include "names/names.h"
#include "pg/insist.h"
#include "replica/mark.h"
#include "write/statement.h"

enum { STORES__SAVEPOINTS_MAX = 64, STORES__TX_TABLES = 4 };

struct stores__tx_table {
    struct stores__table *table; /* held */
    bool reaches, cascades;
};

enum stores__tx_state {
    TX_NEW, /* no connection yet */
    TX_OPEN,
    TX_ENDING, /* COMMIT or ROLLBACK is under way */
    TX_ENDED
};

enum stores__txop_kind {
    TXOP_FIND,
    TXOP_WRITE,
    TXOP_BULK,
    TXOP_SELECT,
    TXOP_QUERY,
    TXOP_SAVEPOINT,
    TXOP_RELEASE,
    TXOP_ROLLBACK_TO,
    TXOP_COMMIT,
    TXOP_ROLLBACK
};

/* What is asked behind its statement. */
enum stores__txop_behind {
    BEHIND_NOTHING,
    BEHIND_XID, /* for the intents, and to ask after a COMMIT that was lost */
    BEHIND_PRINT, /* the same, and whether the table's facts were right */
    BEHIND_WROTE /* in a session: whether it wrote */
};

/* A COPY cannot stand among the statements of a request: three of them follow each other, of which
 * the first and the last may be left out. */
enum stores__copy_sent {
    COPY_NOTHING,
    COPY_OPENING, /* BEGIN, and what has to be known of the table */
    COPY_ITSELF,
    COPY_QUESTION /* what is asked behind it */
};

struct stores__tx_copy {
    enum stores__copy_sent sent;
    bool confirms;
    char *data;
    size_t len;
    int64_t *ids; /* of its rows */
    size_t count;
};

struct stores__txop {
    enum stores__txop_kind kind;
    struct stores__table *table; /* held; NULL: none */
    char *sql, *memory;
    int count;
    const char **values;
    struct stores__statement *statement; /* WRITE, BULK */
    struct stores__tx_copy *copy; /* BULK: its statement is a COPY; NULL: it is none */
    bool commit; /* WRITE: commit right after it */
    bool simple, readonly, lock;
    bool guarded; /* the server sees to it that it only reads */
    /* Where it stands in the request (tx_send.c). */
    int facts_at; /* of the question about its table; -1: none */
    struct stores__facts_asked asked; /* where there is one */
    int at; /* of its own statement; -1: a text that waits for BEGIN */
    enum stores__txop_behind behind;
    int path_at, path_behind; /* of the questions what names mean; -1: none */
    bool begun_here; /* BEGIN stands in it, too */
    bool looks; /* code of somebody's may run in it, after which names may mean other tables */
    /* What its results said. */
    bool ended; /* an answer's tag says that the text ended the transaction */
    bool partly; /* of a session: it failed, and may have committed a part of its work, or all */
    /* Of a session: rows were changed, or what names mean, which is told once the server is idle.
     * The answer may come before that: what waits for the commit has locked nothing then. */
    bool wrote, renames;
    bool unsure; /* an INSERT gave no row: whether its id is taken is asked */
    bool undo; /* it failed, and the transaction cannot go on after that */
    struct pg_result *result;
};

struct stores_tx {
    struct stores__list insiders; /* calls that its holder made elsewhere, by inside_link */
    struct stores__list link; /* engine->txs */
    stores_engine *engine;
    stores_tx_options options;
    stores_error *wrong; /* with the options that its caller gave; NULL: nothing */
    enum stores__tx_state state;
    bool begun, freed, xid_known;
    bool renames; /* a text may have changed what names mean */
    bool saves; /* a text made a savepoint, which may be open still */
    bool keeps; /* it failed, perhaps inside of a savepoint that depth does not count */
    bool late; /* its deadline is over: it is rolled back, and does nothing else any more */
    bool freed_in_child; /* of a fork, which is to forget it */
    stores_op *op; /* the op under way; NULL: none, or it left */
    struct stores__txop *txop; /* its details, also after the op left */
    struct stores__pg_wait wait;
    struct stores__pg_conn *conn;
    struct stores__pg_req req;
    struct stores__pg_insist insist; /* after an op left */
    struct stores__flush flush; /* a tx that was freed open, or is late, is rolled back at the
                                 * tick's end */
    struct stores__timer deadline; /* while it has a connection */
    uint64_t ends_at; /* of its options; 0: it may last */
    struct stores__commit *commit;
    struct stores__own_names names;
    uint64_t path; /* the schemas that are looked through, as a hash; 0: not known */
    unsigned path_texts; /* conn->texts at that time */
    /* Tables whose facts were confirmed: the transaction's locks keep them so. More are asked
     * again. */
    struct stores__tx_table tables[STORES__TX_TABLES];
    int table_count;
    uint32_t *marks; /* where its savepoints began; NULL: there was none yet */
    int depth;
    bool doomed; /* a savepoint was not rolled back that was to be: there is no COMMIT any more */
    stores_code ended_by; /* before its caller did: a call that left, a loss; STORES_OK: nothing */
    bool failed;
    stores_error *error; /* where it failed; else of before, or NULL */
};

/* A new op on the tx, which is under way with the txop; made NULL: it failed already, or there is
 * no memory (txop.c). */
stores_op *stores__txop_new(stores_tx *tx, const stores_call *call, enum stores__txop_kind kind,
                            struct stores__txop **made);
void stores__txop_free(struct stores__txop *txop); /* NULL is allowed */
/* Answers the op under way, and frees what it had; error NULL: it succeeded. */
void stores__tx_answer(stores_tx *tx, const stores_error *error);

/* The arguments of the op under way are complete: off to the connection. */
void stores__tx_start(stores_tx *tx);
/* The engine is forgotten by a child of a fork: transactions that nobody holds end. */
void stores__txs_stop(stores_engine *engine);
/* A call that the tx's holder made elsewhere. */
void stores__tx_insider(stores_tx *tx, stores_op *op);
/* Sends the op under way; the owner of what comes behind it is set before (tx->req.done). */
void stores__tx_send(stores_tx *tx);
/* Whether more is to be sent for the op under way. */
bool stores__tx_owes(const stores_tx *tx);
/* When one that begins now and may take so long is late; 0: never (tx_deadline.c). */
uint64_t stores__tx_deadline_of(uint64_t timeout_ms);
/* It has a connection: before that it keeps nothing from anybody. False: no memory. */
bool stores__tx_watch_deadline(stores_tx *tx);
/* No op is under way any more: a tx that is late is rolled back. */
void stores__tx_idles(stores_tx *tx);
/* What is said to calls of one that is late. */
void stores__tx_is_late(stores_error *error);
/* The one that was kept before goes. */
void stores__tx_keep_error(stores_tx *tx, stores_error *error);
/* What is under way commits what it likes: that of a session, and a text that ends its transaction,
 * or has the words for it. */
bool stores__tx_commits_itself(const stores_tx *tx);
/* The op under way is over, or nobody waits for it any more. Where such a text may have committed
 * something before it failed all tables are turned, for that was told to nobody. */
void stores__tx_text_over(stores_tx *tx, bool answered);

/* Before a write is added: how far it reaches, where that is known already; else asks for the facts
 * of its table in front of it, where they are in doubt. True: they are to be confirmed behind
 * it. */
bool stores__tx_add_facts(stores_tx *tx);
/* Adds what is asked behind a write. */
void stores__tx_add_behind(stores_tx *tx, bool confirms);
/* The catalog's word on the table, behind its write. */
void stores__tx_confirm_facts(stores_tx *tx, const struct pg_result *result);
/* The question for the facts of the op's table, and its answer. */
void stores__tx_ask_facts(stores_tx *tx, enum stores__facts_depth depth);
void stores__tx_take_facts(stores_tx *tx, const struct pg_result *result);
/* The locks that kept them so are given back. */
void stores__tx_forget_facts(stores_tx *tx);

/* What names mean, in front of a statement and behind it, where it may run what may change that
 * (tx_path.c). True: the result was of such a question. */
void stores__tx_path_before(stores_tx *tx);
void stores__tx_path_behind(stores_tx *tx);
bool stores__tx_path_take(stores_tx *tx, int index, const struct pg_result *result);

/* The arguments of a BULK. False: no memory (tx_bulk.c). */
bool stores__tx_bulk_take(struct stores__txop *txop, const stores_bulk *bulk,
                          const stores_params *params);
bool stores__tx_bulk_bind(struct stores__txop *txop, struct stores__table *table);
void stores__tx_copy_free(struct stores__tx_copy *copy); /* NULL is allowed */
/* Sends the next part of a COPY. False: that is its opening, which is the caller's. */
bool stores__tx_copy_send(stores_tx *tx, bool begin);
bool stores__tx_copy_owes(const stores_tx *tx);
/* Says of an error of the COPY itself where its table stands, where it is that which is gone. */
void stores__tx_copy_refused(const stores_tx *tx, stores_error *error);
/* The rows that it changed, which the result names, or the COPY had. */
void stores__tx_bulk_took(stores_tx *tx, const struct pg_result *result);

/* Gives the rows of a find to the documents of its op. The result is freed, or kept by them. False:
 * no memory (tx_docs.c). */
bool stores__tx_keep_documents(stores_op *op, struct pg_result *result);

#endif
