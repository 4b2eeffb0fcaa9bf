---@meta
-- The options of calls.
-- Written by tools/docs.lua: change what it is made from.

---@class stores.ChangeOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field if_match? stores.Etag only where the row still has this etag; `conflict` where it has another one, or is gone
---@field etag? boolean give the etag of the document, too: the new one, of a write

---@class stores.CountOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field all? boolean criteria that match every row are meant
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.CriteriaOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field limit? integer so many documents at most
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field before? stores.Cursor the same for what comes before it: of that the last ones, in the order of the call
---@field order? stores.Order `'asc'` (by id, the default), `'desc'`, or a list of keys: `{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value there, or with a null, come last
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field fields? stores.Path[] only these members, and the id
---@field all? boolean criteria that match every row are meant
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.DeleteOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field must? boolean raise `not_found` instead of giving nil or false
---@field if_match? stores.Etag only where the row still has this etag; `conflict` where it has another one, or is gone

---@class stores.DeleteManyOptions
---@field timeout? number the deadline of this call
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field transaction? boolean false: the statements run as they come, each on its own
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field progress? fun(count: integer, after: integer|string) called behind each chunk with how many there were, and what `after` would go on with

---@class stores.EachOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field order? stores.Order `'asc'` (by id, the default), `'desc'`, or a list of keys: `{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value there, or with a null, come last
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field contains? table only documents that contain this one
---@field fields? stores.Path[] only these members, and the id

---@class stores.ExistsOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field hold? boolean keep rows of the table in the memory of the process from now on, and read them there: [held.md](held.md); false: this call does not read there

---@class stores.ExpireOptions
---@field timeout? number the deadline of this call
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field pause? number seconds to wait behind each batch

---@class stores.InsertManyOptions
---@field timeout? number the deadline of this call
---@field conflict? 'fail'|'ignore'|'replace' where a row has the id already: `'fail'`, the default, raises `duplicate`; `'ignore'` leaves the row, also where another unique value is there; `'replace'` gives it the new document
---@field etag? boolean give the etag of the document, too: the new one, of a write
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field transaction? boolean false: the statements run as they come, each on its own
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field progress? fun(count: integer, after: integer|string) called behind each chunk with how many there were, and what `after` would go on with

---@class stores.ListOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field limit? integer so many documents at most
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field before? stores.Cursor the same for what comes before it: of that the last ones, in the order of the call
---@field order? stores.Order `'asc'` (by id, the default), `'desc'`, or a list of keys: `{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value there, or with a null, come last
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field contains? table only documents that contain this one
---@field fields? stores.Path[] only these members, and the id
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.ManyOptions
---@field timeout? number the deadline of this call
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field all? boolean criteria that match every row are meant
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.OneOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field order? stores.Order `'asc'` (by id, the default), `'desc'`, or a list of keys: `{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value there, or with a null, come last
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field fields? stores.Path[] only these members, and the id
---@field all? boolean criteria that match every row are meant
---@field must? boolean raise `not_found` instead of giving nil or false
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.PathOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field limit? integer so many documents at most
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field before? stores.Cursor the same for what comes before it: of that the last ones, in the order of the call
---@field order? stores.Order `'asc'` (by id, the default), `'desc'`, or a list of keys: `{'name'}`, `{'state', '-created'}`, `{{'path', 'to'}, 'desc'}`; documents without a value there, or with a null, come last
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field fields? stores.Path[] only these members, and the id
---@field predicate? boolean the path is a predicate: documents for which it is true
---@field all? boolean criteria that match every row are meant
---@field explain? boolean nothing is read; the plan is given in place of it: [criteria.md](criteria.md#explain)

---@class stores.QueryOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field raw? boolean documents as JSON text
---@field transaction? boolean false: the statements run as they come, each on its own
---@field readonly? boolean nothing is written; the server checks
---@field invalidates? string[] the tables that a statement outside of transactions writes

---@class stores.QueryInsideOptions
---@field timeout? number the deadline of this call
---@field raw? boolean documents as JSON text
---@field readonly? boolean nothing is written; the server checks

---@class stores.ReadOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field hold? boolean keep rows of the table in the memory of the process from now on, and read them there: [held.md](held.md); false: this call does not read there
---@field shared? boolean one document for all who ask, which nobody may write to: [held.md](held.md#shared-documents)
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field etag? boolean give the etag of the document, too: the new one, of a write
---@field if_none_match? stores.Etag the etag of a document that one has: where it is still that one, `stores.unchanged` is given in its place

---@class stores.ReadInsideOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field etag? boolean give the etag of the document, too: the new one, of a write
---@field if_none_match? stores.Etag the etag of a document that one has: where it is still that one, `stores.unchanged` is given in its place
---@field lock? boolean lock the row until the end of the transaction

---@class stores.ReadManyOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field hold? boolean keep rows of the table in the memory of the process from now on, and read them there: [held.md](held.md); false: this call does not read there
---@field raw? boolean documents as JSON text
---@field as? 'array'|'map' `'map'`: documents in a table by id, in place of the array

---@class stores.ReplaceOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field must? boolean raise `not_found` instead of giving nil or false
---@field if_match? stores.Etag only where the row still has this etag; `conflict` where it has another one, or is gone
---@field etag? boolean give the etag of the document, too: the new one, of a write

---@class stores.TimeoutOptions
---@field timeout? number the deadline of this call

---@class stores.TransactionOptions
---@field timeout? number the deadline of this call
---@field isolation? 'read committed'|'repeatable read'|'serializable' `'read committed'`, `'repeatable read'`, `'serializable'`
---@field readonly? boolean nothing is written; the server checks
---@field retries? integer how often the function runs again after a deadlock or a serialization failure
---@field strict? boolean a verb of the store that the function calls raises `unsupported`

---@class stores.UniqueOptions
---@field timeout? number the deadline of this call
---@field read? 'primary'|'replica' `'replica'`: a replica may answer, once it has all that this store has committed, and read so before: [scaling.md](scaling.md#replicas)
---@field after_token? string what a replica answers is not older than this token says: [token](#token)
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field unique? boolean a unique index is over the path: one row at most has the value

---@class stores.UpdateOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field create? boolean where no row has the id, the function is called with nil, and makes one
---@field retries? integer how often the function runs again after a deadlock or a serialization failure
---@field combine? boolean false: a transaction of its own, with a lock

---@class stores.UpdateEachOptions
---@field timeout? number the deadline of this call
---@field where? stores.Where conditions that documents meet: [criteria.md](criteria.md#where)
---@field all? boolean criteria that match every row are meant
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field pause? number seconds to wait behind each batch
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field progress? fun(count: integer, after: integer|string) called behind each chunk with how many there were, and what `after` would go on with

---@class stores.UpdateInsideOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field raw? boolean documents as JSON text
---@field must? boolean raise `not_found` instead of giving nil or false
---@field create? boolean where no row has the id, the function is called with nil, and makes one

---@class stores.UpgradeOptions
---@field timeout? number the deadline of this call
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field pause? number seconds to wait behind each batch
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it

---@class stores.UpsertOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field if_match? stores.Etag only where the row still has this etag; `conflict` where it has another one, or is gone
---@field etag? boolean give the etag of the document, too: the new one, of a write

---@class stores.UpsertManyOptions
---@field timeout? number the deadline of this call
---@field etag? boolean give the etag of the document, too: the new one, of a write
---@field batch? integer documents in one batch; 500, of bulk verbs 5000
---@field transaction? boolean false: the statements run as they come, each on its own
---@field after? stores.Cursor|integer a cursor that a list gave: only what comes behind it, in the order of the call. In an order by id an id will do, too. Of bulk verbs: where to go on, as `progress`, or the `after` of an error, told it
---@field progress? fun(count: integer, after: integer|string) called behind each chunk with how many there were, and what `after` would go on with

---@class stores.WriteOptions
---@field timeout? number the deadline of this call
---@field cache? boolean false: neither read from the cache nor publish to it. A write still tells the cache that its row changes
---@field etag? boolean give the etag of the document, too: the new one, of a write
