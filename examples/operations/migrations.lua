-- The tables of the shop: `stores migrate migrations.lua`.
return {
  { name = 'orders', migration = [[
      CREATE TABLE orders (id bigint PRIMARY KEY, value jsonb NOT NULL);
      CREATE INDEX orders_value_idx ON orders USING gin (value jsonb_path_ops); ]] },
}
