/* facts_sql.c - the questions that the catalog is asked about a table. */
#include <string.h>

#include "names/facts.h"
#include "names/spread.h"

/* The languages of what nobody wrote for this database, internal and c: their oids are fixed. */
#define THE_SERVERS "12, 13"

/* What changes whenever DDL changed something of the facts. Creating the first trigger, the first
 * child, a check, a column, a rule, row security, a new name: each writes the row in pg_class anew.
 * Only a parent and the default of a column, which is a new object each time, come without that.
 * Statistics and VACUUM change it in place. */
#define OWN_PRINT "c.oid::text || ' ' || c.xmin::text"
#define PRINT_OF(child)                                                                            \
    OWN_PRINT                                                                                      \
    " || CASE WHEN " child " THEN ' child' ELSE '' END"                                            \
    " || coalesce((SELECT ' ' || pg_catalog.sum(d.oid::pg_catalog.int8)::text"                     \
    "  FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid), '')"                                 \
    " || coalesce(' held' || nullif(" STORES__MARK("c.oid::text") ", 0)::text, '')"

#define IS_CHILD "EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)"

#define PRINT PRINT_OF(IS_CHILD)

/* A table, and all that inherits from it. */
#define TREE(of)                                                                                   \
    "tree AS (SELECT " of " AS oid UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i"          \
    "  JOIN tree ON i.inhparent = tree.oid)"

/* The domains of a table's columns, and those that they are made of. */
#define DOMAINS(of)                                                                                \
    "domains AS (SELECT t.oid, t.xmin, t.typbasetype FROM pg_catalog.pg_attribute a"               \
    "  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typtype = 'd'"                        \
    "  WHERE a.attrelid = " of " AND a.attnum > 0"                                                 \
    "  UNION ALL SELECT t.oid, t.xmin, t.typbasetype FROM domains"                                 \
    "  JOIN pg_catalog.pg_type t ON t.oid = domains.typbasetype AND t.typtype = 'd')"

#define HAS_DOMAINS                                                                                \
    "EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t"                      \
    "  ON t.oid = a.atttypid AND t.typtype = 'd' WHERE a.attrelid = c.oid AND a.attnum > 0)"

/* An operator class that somebody wrote: what compares, or hashes, the keys is a function. */
#define OWN_INDEX "EXISTS (SELECT FROM pg_catalog.unnest(i.indclass) c (oid) WHERE c.oid >= 16384)"
#define OWN_KEY "EXISTS (SELECT FROM pg_catalog.unnest(p.partclass) c (oid) WHERE c.oid >= 16384)"

/* What a table's definitions are made of: constraints, defaults, indexes, the keys of partitions;
 * domains of columns, and those that the former make values of, also inside of others, as a range
 * has its bounds; and the functions in all of these that somebody wrote. An exclusion constraint is
 * noted to depend on the class of its index, and not on its operators; what compares arrays, or
 * rows, takes the classes of the types inside, and is noted to depend on none. */
#define DEFINITIONS                                                                                \
    "texts AS (SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass AS class,"                   \
    "  k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid IN (SELECT tree.oid FROM tree)"      \
    "  UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid"                       \
    "  FROM pg_catalog.pg_attrdef d WHERE d.adrelid IN (SELECT tree.oid FROM tree)"                \
    "  UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid"                  \
    "  FROM pg_catalog.pg_index i WHERE i.indrelid IN (SELECT tree.oid FROM tree)"                 \
    "  AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR " OWN_INDEX ")"                     \
    "  UNION ALL SELECT DISTINCT 'pg_catalog.pg_class'::pg_catalog.regclass, p.partrelid"          \
    "  FROM tree CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(tree.oid) a"                 \
    "  JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid"                            \
    "  AND (p.partexprs IS NOT NULL OR " OWN_KEY ")),"                                             \
    " types AS (SELECT e.refobjid AS oid FROM texts JOIN pg_catalog.pg_depend e"                   \
    "  ON e.classid = texts.class AND e.objid = texts.oid AND e.refobjid >= 16384"                 \
    "  AND e.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass"                               \
    "  UNION SELECT x.oid FROM types JOIN pg_catalog.pg_type t ON t.oid = types.oid"               \
    "  CROSS JOIN LATERAL (SELECT t.typelem AS oid UNION ALL SELECT t.typbasetype"                 \
    "  UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a"                                 \
    "  WHERE a.attrelid = t.typrelid AND a.attnum > 0"                                             \
    "  UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid"          \
    "  UNION ALL SELECT e.refobjid FROM pg_catalog.pg_depend e WHERE t.typtype = 'm'"              \
    "  AND e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid"              \
    "  AND e.refclassid = e.classid) x WHERE x.oid >= 16384),"                                     \
    " made AS (SELECT domains.oid FROM domains UNION SELECT types.oid FROM types),"                \
    " o AS (SELECT texts.class, texts.oid FROM texts"                                              \
    "  UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid"                    \
    "  FROM pg_catalog.pg_constraint k WHERE k.contypid IN (SELECT made.oid FROM made)"            \
    "  UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, made.oid FROM made),"           \
    " written AS (SELECT DISTINCT p.oid, p.xmin, p.provolatile FROM o"                             \
    "  JOIN pg_catalog.pg_depend e ON e.classid = o.class AND e.objid = o.oid"                     \
    "  LEFT JOIN pg_catalog.pg_operator r ON r.oid = e.refobjid"                                   \
    "  AND e.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass"                           \
    "  JOIN pg_catalog.pg_proc p ON p.oid = CASE e.refclassid"                                     \
    "  WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN e.refobjid"                             \
    "  WHEN 'pg_catalog.pg_operator'::pg_catalog.regclass THEN r.oprcode::pg_catalog.oid END"      \
    "  AND p.prolang NOT IN (" THE_SERVERS ")"                                                     \
    "  UNION SELECT p.oid, p.xmin, p.provolatile FROM (SELECT e.refobjid AS oid FROM o"            \
    "  JOIN pg_catalog.pg_depend e ON e.classid = o.class AND e.objid = o.oid"                     \
    "  AND e.refclassid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND e.refobjid >= 16384"    \
    "  UNION ALL SELECT k.oid FROM pg_catalog.pg_opclass k WHERE k.oid >= 16384"                   \
    "  AND k.opcintype IN (SELECT made.oid FROM made)) c"                                          \
    "  JOIN pg_catalog.pg_opclass k ON k.oid = c.oid CROSS JOIN LATERAL ("                         \
    "  SELECT m.amproc::pg_catalog.oid AS oid FROM pg_catalog.pg_amproc m"                         \
    "  WHERE m.amprocfamily = k.opcfamily UNION ALL SELECT r.oprcode::pg_catalog.oid"              \
    "  FROM pg_catalog.pg_amop m JOIN pg_catalog.pg_operator r ON r.oid = m.amopopr"               \
    "  WHERE m.amopfamily = k.opcfamily) f JOIN pg_catalog.pg_proc p ON p.oid = f.oid"             \
    "  AND p.prolang NOT IN (" THE_SERVERS "))"

/* Those, and the ones that their bodies mention: what is not VOLATILE must not write, but calls
 * what is. The server's own have oids below 16384 (access/transam.h): where the planner expects to
 * compare a body with thousands of names, it has the statement compiled, a second for each
 * connection. */
#define CALLED                                                                                     \
    "called AS (SELECT written.oid, written.provolatile FROM written"                              \
    "  UNION SELECT p.oid, p.provolatile FROM called CROSS JOIN LATERAL ("                         \
    "  SELECT n.oid, n.provolatile FROM pg_catalog.pg_proc w"                                      \
    "  JOIN pg_catalog.pg_proc n ON n.oid >= 16384 AND w.prosrc ~* ('\\m'"                         \
    "  || pg_catalog.regexp_replace(n.proname, '(\\W)', '\\\\\\1', 'g') || '\\M')"                 \
    "  AND n.prolang NOT IN (" THE_SERVERS ") WHERE w.oid = called.oid"                            \
    "  UNION ALL SELECT n.oid, n.provolatile FROM pg_catalog.pg_depend e"                          \
    "  JOIN pg_catalog.pg_proc n ON n.oid = e.refobjid AND n.prolang NOT IN (" THE_SERVERS ")"     \
    "  WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = called.oid"       \
    "  AND e.refclassid = e.classid) p)"

/* Of a table that has triggers (also the server's own, of foreign keys), partitions or domains:
 * each of those. */
#define WIDE_OF(tree, domains)                                                                     \
    "' ' || (" tree " SELECT pg_catalog.hashtextextended(pg_catalog.string_agg("                   \
    "  k.oid::text || '.' || k.xmin::text || '.' || coalesce(t.oid::text || '.' ||"                \
    "  t.xmin::text, ''), ',' ORDER BY k.oid, t.oid), 0)::text FROM tree"                          \
    "  JOIN pg_catalog.pg_class k ON k.oid = tree.oid"                                             \
    "  LEFT JOIN pg_catalog.pg_trigger t ON t.tgrelid = k.oid)"                                    \
    " || coalesce((" domains " SELECT ' ' || "                                                     \
    "pg_catalog.hashtextextended(pg_catalog.string_agg(domains.oid::text"                          \
    "  || '.' || domains.xmin::text || '.' || coalesce(k.oid::text, ''), ','"                      \
    "  ORDER BY domains.oid, k.oid), 0)::text FROM domains"                                        \
    "  LEFT JOIN pg_catalog.pg_constraint k ON k.contypid = domains.oid), '')"

#define IS_WIDE "(c.relhastriggers OR c.relhassubclass OR " HAS_DOMAINS ")"

#define WIDE WIDE_OF("WITH RECURSIVE " TREE("c.oid"), "WITH RECURSIVE " DOMAINS("c.oid"))
#define PRINT_SOME PRINT " || CASE WHEN " IS_WIDE " THEN " WIDE " ELSE '' END"

/* The same where OF_TABLE and WHAT are asked for as well. */
#define PRINT_OF_TABLE                                                                             \
    PRINT_OF("f.child") " || CASE WHEN f.wide THEN " WIDE_OF("", "") " ELSE '' END"

/* Which functions somebody wrote the table's definitions call, and as what: one that is replaced
 * changes neither the table nor what calls it. The same of domains that those make values of, and
 * of types that may come to have some inside, which ALTER DOMAIN and ALTER TYPE change.
 * "": none. */
#define PRINT_WRITTEN                                                                              \
    "coalesce((SELECT ' ' || pg_catalog.hashtextextended(pg_catalog.string_agg("                   \
    "  written.oid::text || '.' || written.xmin::text, ',' ORDER BY written.oid), 0)::text"        \
    "  FROM written), '')"
#define PRINT_MADE                                                                                 \
    "coalesce((SELECT ' ' || pg_catalog.hashtextextended(pg_catalog.string_agg(t.oid::text"        \
    "  || '.' || t.xmin::text || '.' || coalesce(k.oid::text, ''), ','"                            \
    "  ORDER BY t.oid, k.oid), 0)::text FROM types"                                                \
    "  JOIN pg_catalog.pg_type t ON t.oid = types.oid AND t.typtype IN ('c', 'd')"                 \
    "  LEFT JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid), '')"
#define PRINT_CALLS PRINT_WRITTEN " || " PRINT_MADE

/* What the table is, with all that inherits from it; its functions, once for all that asks. */
#define NAMED "pg_catalog.to_regclass($1)::pg_catalog.oid"
#define OF_TABLE TREE(NAMED) ", " DOMAINS(NAMED) ", " DEFINITIONS

/* No unique index on the id alone. Of partitioned tables it is made of more. */
#define UNKEYED "c.relkind = 'r' AND NOT " HAS_KEY
#define HAS_KEY                                                                                    \
    "EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a"                     \
    "  ON a.attrelid = c.oid AND a.attname = 'id' AND i.indkey[0] = a.attnum"                      \
    "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indnkeyatts = 1)"

/* What several answers hang on: of the table, of triggers, and of the foreign keys of others.
 * Each is asked once, for the time is that of the planner. */
#define WHAT                                                                                       \
    " LATERAL (SELECT " IS_CHILD " AS child, domains.are AS domains, " UNKEYED " AS unkeyed,"      \
    "  c.relhastriggers OR c.relhassubclass OR domains.are AS wide"                                \
    "  FROM (SELECT EXISTS (SELECT FROM domains) AS are) domains OFFSET 0) f,"                     \
    " LATERAL (SELECT coalesce(pg_catalog.bool_or(m.written), false) AS fire,"                     \
    "  coalesce(pg_catalog.bool_or(m.written AND m.own AND m.tgtype & 4 = 4"                       \
    "  AND m.tgtype & 66 <> 0), false) AS take,"                                                   \
    "  coalesce(pg_catalog.bool_or(m.own AND m.tgtype & 64 = 64), false) AS replace"               \
    "  FROM (SELECT t.tgtype, t.tgrelid = c.oid AS own,"                                           \
    "  NOT t.tgisinternal AND t.tgenabled <> 'D' AS written"                                       \
    "  FROM pg_catalog.pg_trigger t JOIN tree ON t.tgrelid = tree.oid) m) g,"                      \
    " LATERAL (SELECT coalesce(pg_catalog.bool_or(k.confdeltype IN ('c', 'n', 'd')), false)"       \
    "  AS cascade, coalesce(pg_catalog.bool_or(k.confupdtype IN ('c', 'n', 'd')"                   \
    "  AND k.confkey <> ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a"                      \
    "  WHERE a.attrelid = k.confrelid AND a.attname = 'id')), false) AS reach"                     \
    "  FROM pg_catalog.pg_constraint k JOIN tree ON k.confrelid = tree.oid"                        \
    "  WHERE k.contype = 'f') h"

/* What the table lacks to be one of Stores, all of it, in words; "": nothing. A domain is taken for
 * one of the right type. */
#define LACKS                                                                                      \
    "pg_catalog.concat_ws(', ', (SELECT pg_catalog.string_agg(CASE"                                \
    "  WHEN a.attname IS NULL THEN 'no column ' || w.name"                                         \
    "  WHEN a.atttypid <> w.type AND t.typtype <> 'd' THEN w.name || ' is '"                       \
    "  || pg_catalog.format_type(a.atttypid, a.atttypmod) || ' and not ' || w.type::text END,"     \
    "  ', ' ORDER BY w.name) FROM (VALUES ('id', 'pg_catalog.int8'::pg_catalog.regtype),"          \
    "  ('value', 'pg_catalog.jsonb'::pg_catalog.regtype)) w (name, type)"                          \
    "  LEFT JOIN pg_catalog.pg_attribute a"                                                        \
    "  ON a.attrelid = c.oid AND a.attname = w.name::pg_catalog.name AND a.attnum > 0"             \
    "  LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid),"                                     \
    " CASE WHEN f.unkeyed THEN 'no primary key on id' END)"

/* The server's %I writes names the way that SQL uses. Triggers that run before an INSERT (4), or in
 * place of it, have the BEFORE (2) or the INSTEAD (64) bit. A row of a partition is a row of its
 * parent too, and is cached there alone; what is inherited without partitions can be taken away
 * without a lock on the parent, so that neither is cached. A foreign key that cascades on updates
 * matters where it refers to more than the id, which no verb changes. A check, a default or
 * an index may call a function that writes: one that is not VOLATILE must not. Who may not read the
 * rows does not get them from the cache, where those who may have put them. */
#define FACTS(of_table, print, more, where)                                                        \
    "WITH RECURSIVE " of_table ", calls AS (SELECT " print " AS print)"                            \
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid,"                             \
    " CASE WHEN c.relkind IN ('v', 'm') THEN 'a view' WHEN c.relkind = 'f' THEN 'a foreign table'" \
    "  WHEN c.relkind NOT IN ('r', 'p') THEN 'no table'"                                           \
    "  WHEN c.relpersistence = 't' THEN 'temporary' WHEN c.relpersistence = 'u' THEN 'unlogged'"   \
    "  WHEN c.relrowsecurity THEN 'row security' WHEN c.relhasrules THEN 'a rule'"                 \
    "  WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid"                \
    "    AND a.attname IN ('id', 'value')"                                                         \
    "    AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))"                      \
    "  THEN 'no right to read'"                                                                    \
    "  WHEN f.child"                                                                               \
    "  THEN CASE WHEN c.relispartition THEN 'a partition' ELSE 'a child' END"                      \
    "  WHEN EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class k ON k.oid = tree.oid"               \
    "  WHERE k.oid <> c.oid AND (NOT k.relispartition OR k.relkind NOT IN ('r', 'p')"              \
    "  OR k.relpersistence <> 'p')) THEN 'children' ELSE '' END,"                                  \
    " g.fire OR h.reach OR EXISTS (SELECT FROM called WHERE called.provolatile = 'v'), h.cascade," \
    " f.wide, " PRINT_OF_TABLE " || calls.print,"                                                  \
    " c.relkind <> 'r' OR c.relhasrules OR g.take,"                                                \
    " CASE WHEN c.relkind = 'r' THEN 0 WHEN c.relkind = 'f' OR g.replace THEN 2 ELSE 1 END,"       \
    " f.unkeyed,"                                                                                  \
    " c.relkind = 'p' OR f.domains, calls.print <> '',"                                            \
    " c.relkind = 'v' OR c.relrowsecurity, " LACKS ", " STORES__MARK("c.oid::text") more           \
        " FROM calls, pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"                        \
        "  ON n.oid = c.relnamespace," WHAT " WHERE c.oid = pg_catalog.to_regclass($1)" where

static const char all_sql[] = FACTS(OF_TABLE ", " CALLED, PRINT_CALLS, "", "");
static const char spread_sql[] = FACTS(OF_TABLE ", " CALLED, PRINT_CALLS,
                                       ", " STORES__SPREAD_COLUMN, "");

/* Nothing of it is but its own: no parent, no child, no partitions, no domain, no function that
 * somebody wrote. Types and functions that somebody may have written are those that definitions are
 * noted to depend on; of the server's own those of information_schema alone are noted, with oids
 * from 10000 on (access/transam.h). */
#define WROTE                                                                                      \
    "('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,"   \
    " 'pg_catalog.pg_type'::pg_catalog.regclass, 'pg_catalog.pg_opclass'::pg_catalog.regclass)"
#define IS_ALONE                                                                                   \
    "c.relkind <> 'p' AND NOT c.relhassubclass AND NOT " IS_CHILD                                  \
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a"                                       \
    "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid >= 10000)"                         \
    " AND NOT EXISTS (SELECT FROM"                                                                 \
    "  (SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass AS class, k.oid"                    \
    "  FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid"                                   \
    "  UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid"                       \
    "  FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid"                                       \
    "  UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid"                  \
    "  FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid) o"                                     \
    "  JOIN pg_catalog.pg_depend e ON e.classid = o.class AND e.objid = o.oid"                     \
    "  AND e.refclassid IN " WROTE ")"

/* Of such a table the same answer, planned in half the time. No row: it is none. */
#define OF_ALONE                                                                                   \
    "tree AS (SELECT " NAMED " AS oid), domains AS (SELECT t.oid, t.xmin"                          \
    "  FROM pg_catalog.pg_type t WHERE false), written AS (SELECT p.oid, p.xmin, p.provolatile"    \
    "  FROM pg_catalog.pg_proc p WHERE false), called AS (SELECT * FROM written)"
static const char alone_sql[] = FACTS(OF_ALONE, PRINT_WRITTEN, "", " AND " IS_ALONE);

/* And of one of which all is "no", as of nearly all, the same in an eighth of the time: 1 ms in
 * place of 8, which each session takes anew, and behind a transaction pooler each question. The
 * last column tells of any table which question it takes (enum stores__facts_depth), the others
 * tell of such a one only. */
#define PRINT_OF_NO_CHILD PRINT_OF("false")
#define MARK_NAME STORES__MARK_NAME("c.oid::text")
#define IS_BRIEF                                                                                   \
    "c.relkind = 'r' AND c.relpersistence = 'p'"                                                   \
    " AND NOT (c.relhastriggers OR c.relhasrules OR c.relrowsecurity) AND " HAS_KEY                \
    " AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"                                         \
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_class m WHERE m.relname = " MARK_NAME ")"          \
    " AND (SELECT pg_catalog.count(*) = 2 FROM pg_catalog.pg_attribute a"                          \
    "  WHERE a.attrelid = c.oid AND a.attnum > 0"                                                  \
    "  AND (a.attname = 'id' AND a.atttypid = 'pg_catalog.int8'::pg_catalog.regtype"               \
    "  OR a.attname = 'value' AND a.atttypid = 'pg_catalog.jsonb'::pg_catalog.regtype))"
#define BRIEF                                                                                      \
    "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid, '', false, false, "           \
    "false, " PRINT_OF_NO_CHILD ", false, 0, false, false, false, false, '',"                      \
    " CASE WHEN (" IS_ALONE ") IS NOT TRUE THEN 2 WHEN (" IS_BRIEF ") IS NOT TRUE THEN 1"          \
    "  ELSE 0 END"                                                                                 \
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"         \
    " WHERE c.oid = pg_catalog.to_regclass($1)"
static const char brief_sql[] = BRIEF;

const char *stores__facts_sql(const stores_engine *engine, enum stores__facts_depth depth) {
    static const char *const texts[] = {brief_sql, alone_sql, all_sql};
    return engine->pool.common.citus ? spread_sql : texts[depth];
}

static const char print_sql[] = "SELECT pg_catalog.pg_current_xact_id()::text, " PRINT
                                " FROM pg_catalog.pg_class c"
                                " WHERE c.oid = pg_catalog.to_regclass($1)";
/* Of a table that is no child, and has neither defaults nor a mark, the same text, while that is
 * so: what would tell more of those is made ready for each statement, and takes as long as all the
 * rest. */
static const char print_bare_sql[] =
    "SELECT pg_catalog.pg_current_xact_id()::text, " OWN_PRINT " || CASE WHEN " IS_CHILD
    " OR EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid)"
    " OR EXISTS (SELECT FROM pg_catalog.pg_class m WHERE m.relname = " STORES__MARK_NAME(
        "c.oid::text") ") THEN ' more' ELSE '' END FROM pg_catalog.pg_class c"
                       " WHERE c.oid = pg_catalog.to_regclass($1)";
static const char print_any_sql[] = "WITH RECURSIVE " OF_TABLE
                                    " SELECT pg_catalog.pg_current_xact_id()::text, " PRINT_SOME
                                    " || " PRINT_CALLS " FROM pg_catalog.pg_class c"
                                    " WHERE c.oid = pg_catalog.to_regclass($1)";
static const char print_some_sql[] = "SELECT pg_catalog.pg_current_xact_id()::text, " PRINT_SOME
                                     " FROM pg_catalog.pg_class c"
                                     " WHERE c.oid = pg_catalog.to_regclass($1)";

/* Nothing was told but the two numbers. */
static bool is_bare(const char *print) {
    const char *space = strchr(print, ' ');
    return space != NULL && strchr(space + 1, ' ') == NULL;
}

const char *stores__facts_print_sql(const struct stores__table *table) {
    if (!table->known || table->calls) return print_any_sql;
    if (table->wide) return print_some_sql;
    return is_bare(table->print) ? print_bare_sql : print_sql;
}
