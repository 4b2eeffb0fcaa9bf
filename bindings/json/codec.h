/*
 * codec.h - the exact JSON codec: PostgreSQL's jsonb to Lua values and back, nothing lost.
 *
 * Objects are tables; arrays are tables with the array metatable; null is lightuserdata NULL (the
 * same as cjson.null); a number that no double carries is a stores.json.number, which keeps its
 * digits. What jsonb has no place for is refused, by its path.
 */
#ifndef STORES_BINDINGS_JSON_H
#define STORES_BINDINGS_JSON_H

#include "base/base.h"
#include "lua_api.h"

/* Levels of arrays and objects that are written; any number is read. */
#define STORES__JSON_WRITE_DEPTH 512

#define STORES__JSON_REFUSED (-1)
#define STORES__JSON_NO_MEMORY (-2)
#define STORES__JSON_NOT_A_DOCUMENT 1

struct stores__codec;

/*
 * Pushes the value of len bytes of JSON text (no NUL needed, not changed, not kept). Returns 0, or
 * STORES__JSON_REFUSED with a message pushed instead, which has the place but nothing of the text.
 * Raises only when Lua's memory ran out; nothing leaks then that was made in here. The codec and
 * the (pseudo-)index of its environment are what stores__json_codec gives.
 */
int stores__json_decode(lua_State *L, struct stores__codec *codec, int env, const char *text,
                        size_t len);

/*
 * The same for the value of the row with this id: an object is wanted. own: the index of the
 * string that it was asked for by, the id itself, which is then not looked for among Lua's once
 * more; or 0. *has_id: its field "id" is that id, as a string. Returns STORES__JSON_NOT_A_DOCUMENT,
 * with nothing pushed, for any other JSON value.
 */
int stores__json_decode_document(lua_State *L, struct stores__codec *codec, int env,
                                 const char *text, size_t len, int64_t id, int own, bool *has_id);

/*
 * Appends the JSON of the value at index to buf, which stays the caller's. Returns 0, or pushes a
 * message and returns STORES__JSON_REFUSED ("cannot store .tags[3]: function") or
 * STORES__JSON_NO_MEMORY; what buf held before is then unharmed. Never raises, so that buf may be
 * a local of the caller's; needs 6 free stack slots. Invokes no metamethod, and runs nothing of
 * the user's.
 */
int stores__json_encode(lua_State *L, int index, struct stores__buf *buf);

/* Pushes an empty buffer that the collector owns, so that what raises leaves nothing behind. */
struct stores__buf *stores__json_buffer(lua_State *L);

/* Makes what the codec needs in this Lua state. Before anything else here; again is harmless. */
void stores__json_open(lua_State *L);

/*
 * Sets the codec's fields of the table at index: json_encode, json_decode, null, array_metatable,
 * rows_metatable, affected, number, is_number. The functions return nil and a message where they
 * refuse; stores.json raises.
 */
void stores__json_fields(lua_State *L, int index);

/* ---- Between the files of the codec --------------------------------------------------------- */

enum { STORES__KEYS = 128, STORES__KEY_WORDS = 4, STORES__KEY_DEPTHS = 4 };
enum { STORES__KEY_BYTES = 8 * STORES__KEY_WORDS };
enum { STORES__SHAPES = 64, STORES__SHAPE_MEMBERS = 16 };

/* A name of a member that was read before, zeros behind it. */
struct stores__key {
    union {
        uint64_t words[STORES__KEY_WORDS];
        char text[STORES__KEY_BYTES];
    };
    uint64_t masks[2]; /* which bytes of the first words are its own */
    size_t len; /* 0: none */
    unsigned char next; /* the place of the name that came behind it the last time */
    bool used; /* since another name last wanted its place */
    bool wanted; /* by another name, which has it from the next value on, unless it is used */
};

/* The names of an object's members, in their order, by their places. */
struct stores__shape {
    unsigned char places[STORES__SHAPE_MEMBERS]; /* zeros behind them */
    unsigned char count; /* 0: none */
    unsigned char seen; /* how often, less how often others were sent away */
    bool made; /* the function that makes such an object is in the environment */
};

/* One a Lua state; the registry holds it, and its collector frees what it owns. */
struct stores__codec {
    struct stores__buf scratch;
    struct stores__key keys[STORES__KEYS]; /* their strings are in the environment */
    unsigned char first[STORES__KEY_DEPTHS]; /* the place of the name that the last object of this
                                              * depth began with */
    bool keys_wanted; /* some place of a key is */
    const char *reader; /* where on C's stack a value is being read; NULL: none is */
    struct stores__shape shapes[STORES__SHAPES]; /* their functions are in the environment */
    const char *taker; /* the same of who uses the scratch */
    const void *array_metatable, *number_metatable; /* to compare with lua_topointer */
    void *call; /* hands stores__json_encode_protected its argument */
};

/*
 * Whether who stands there on C's stack is still under way, below which `here` is: a finalizer may
 * read or write JSON inside of JSON. An error of Lua's, as when its stack or memory runs out, takes
 * him away without a word; then somebody stands where he did, or above, sooner or later.
 */
static inline bool stores__json_inside(const char *there, const char *here) {
    return there != NULL && (uintptr_t)here < (uintptr_t)there;
}

/* What the codec's environment table holds, which keeps it alive. */
enum {
    STORES__CODEC_ARRAY = 1, /* the metatable of arrays */
    STORES__CODEC_ROWS, /* that of the rows of a query */
    STORES__CODEC_AFFECTED, /* rows -> how many rows that query gave or changed; weak */
    STORES__CODEC_NUMBER,
    STORES__CODEC_CDATA,
    STORES__CODEC_FOREIGN, /* what a value of another JSON library is (foreign.c) */
    STORES__CODEC_ENCODE,
    STORES__CODEC_BUFFER,
    STORES__CODEC_KEYS, /* the first of so many */
    STORES__CODEC_SHAPES = STORES__CODEC_KEYS + STORES__KEYS, /* as many again of those */
    STORES__CODEC_SIZE = STORES__CODEC_SHAPES + STORES__SHAPES
};

/* Its address is where the registry has the codec. */
extern const char stores__codec_key;

/* Pushes the codec's environment table. */
struct stores__codec *stores__json_codec(lua_State *L);

/*
 * An empty buffer that the collector owns, so that an error of Lua's may leave it behind. It is the
 * codec's own, or, where that is taken (a finalizer may run JSON inside of JSON), a new one that is
 * pushed. Given back it keeps nothing large; what was pushed stays, for the caller to remove.
 */
struct stores__buf *stores__json_take(lua_State *L, struct stores__codec *codec, int env);
void stores__json_give(struct stores__codec *codec, struct stores__buf *buf);
/* Whether what is in the buffer is still there when it was given back, until the next one is
 * taken. */
bool stores__json_stays(const struct stores__codec *codec, const struct stores__buf *buf);

/* Pushes a metatable that frees a buffer, or a codec, with its userdata. */
void stores__json_buffer_metatable(lua_State *L);

/* Registers the metatable of numbers in the codec whose environment is on top. */
void stores__json_number_open(lua_State *L, struct stores__codec *codec);

/* Pushes a stores.json.number that prints as text, which must be a JSON number. env: the index of
 * the codec's environment. */
void stores__json_number_push(lua_State *L, int env, const char *text, size_t len);

/* The digits of the number at index, or NULL where it is something else. */
const char *stores__json_number_text(lua_State *L, struct stores__codec *codec, int index,
                                     size_t *len);

/* The bytes that the text of an array or object, as the encoder wrote it, takes in jsonb at least:
 * a word for each array, object, name and value, the strings, and the shortest number there is. */
size_t stores__json_size(const char *at, const char *end);

enum stores__foreign {
    STORES__FOREIGN_UNKNOWN, /* its contents alone may tell */
    STORES__FOREIGN_ARRAY,
    STORES__FOREIGN_OBJECT,
    STORES__FOREIGN_NULL,
    STORES__FOREIGN_OTHER /* its metatable would have another text made of it */
};

/* What a value is to the JSON library that it comes from: table, whose metatable is on top (and is
 * popped), or, with `bare`, the value on top itself, which stays. Invokes no metamethod. */
enum stores__foreign stores__json_foreign(lua_State *L, int env, bool bare);
/* Pushes what STORES__CODEC_ARRAY, _ROWS and _AFFECTED are. */
void stores__json_marks_open(lua_State *L);
/* Pushes what STORES__CODEC_FOREIGN is. */
void stores__json_foreign_open(lua_State *L);

/* lua_CFunctions of the module; their upvalues are the codec and its environment. */
int stores__json_number_new(lua_State *L);
int stores__json_number_is(lua_State *L);
int stores__json_encode_lua(lua_State *L);
int stores__json_decode_lua(lua_State *L);
/* check.c: the same, where nobody wants the value. */
int stores__json_check_lua(lua_State *L);
/* The encoder's part that may raise: run by stores__json_encode in a protected call. */
int stores__json_encode_protected(lua_State *L);

#endif
