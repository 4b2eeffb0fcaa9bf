-- Documents whose stored `id` is not their row's, for SQL or another program wrote them: they are
-- read with the id of their row, and what was read can be written back.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

local ROWS = [[
INSERT INTO docs VALUES (7, '{"id": 7, "n": 1}'),
  (9007199254740993, '{"id": 9007199254740993, "n": 1}'),
  (9, '{"id": "8", "n": 1}'), (10, '{"id": 8, "n": 1}'), (11, '{"id": null, "n": 1}'),
  (12, '{"id": "012", "n": 1}'), (13, '{"id": "abc", "n": 1}'),
  (14, '{"id": {"id": "14"}, "n": 1}'),
  (15, '{"id": ["15"], "n": 1}'), (16, '{"id": "16\"", "n": 1}'), (17, '{"n": 1}'),
  (-18, '{"id": -18, "n": 1}'), (8, '{"id": "8", "n": 1}'), (19, '{"id": true, "n": 1}')]]

local IDS = { '7', '9007199254740993', '9', '10', '11', '12', '13', '14', '15', '16', '17', '-18',
  '8', '19' }

for _, cached in ipairs({ true, false }) do
  describe('a document with another id than its row' .. (cached and ', cached,' or ', uncached,'),
    function()
      local store, db

      setup(function()
        store, db = support.store({ 'docs' }, { no_redis = not cached or nil })
      end)

      teardown(function() support.close(store, db) end)

      before_each(function()
        store:query('TRUNCATE docs; ' .. ROWS)
      end)

      it("is read with the row's, by every verb", function()
        for _, id in ipairs(IDS) do
          for _ = 1, 3 do assert.equal(id, store:find('docs', id).id) end
        end
        local found = store:findAllByIds('docs', IDS)
        for i, id in ipairs(IDS) do assert.equal(id, found[i].id) end
        local by_id = store:findAllByIds('docs', IDS, { as = 'map' })
        for _, id in ipairs(IDS) do assert.equal(id, by_id[id].id) end
        local seen = {}
        for document in store:each('docs', { batch = 3 }) do seen[document.id] = true end
        for _, document in ipairs(store:findByJSON('docs', { n = 1 })) do
          assert.is_true(seen[document.id])
        end
        for _, id in ipairs(IDS) do assert.is_true(seen[id], id) end
        store:transaction(function(tx)
          for _, id in ipairs(IDS) do assert.equal(id, tx:find('docs', id).id) end
        end)
        assert.equal('{"n": 1, "id": 7}', store:find('docs', '7', { raw = true }))
      end)

      it('is written back to its own row', function()
        for _, id in ipairs(IDS) do
          local document = store:find('docs', id)
          document.n = id
          assert.is_true(store:update('docs', document))
        end
        for _, id in ipairs(IDS) do
          local document = store:find('docs', id, { cache = false })
          assert.same({ id = id, n = id }, document)
        end
      end)

      it('is changed in place', function()
        for _, id in ipairs(IDS) do
          assert.same({ id, 2 }, (function()
            local document = store:updateObject('docs', id, function(d) d.n = d.n + 1 end)
            return { document.id, document.n }
          end)())
          assert.equal(id, store:patch('docs', id, { inc = { n = 1 } }).id)
          assert.equal(id, store:updateProperty('docs', id, 'p', 1).id)
          assert.same({ id = id, n = 3, p = 1 }, store:find('docs', id))
        end
      end)

      it('is changed without a lock, too, among many', function()
        for _ = 1, 3 do
          stores.map(IDS, function(id)
            store:updateObject('docs', id, function(d)
              assert.equal(id, d.id)
              d.n = d.n + 1
            end)
          end, { concurrency = #IDS })
        end
        for _, id in ipairs(IDS) do assert.same({ id = id, n = 4 }, store:find('docs', id)) end
      end)
    end)
end
