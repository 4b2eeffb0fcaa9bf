std = 'luajit'
max_line_length = 100
exclude_files = { 'build*/' }
files['lua/stores/types'] = { max_line_length = false } -- a definition is one line
files['spec'] = { std = 'luajit+busted' }
files['lua/stores/hosts/openresty.lua'] = { std = 'luajit+ngx_lua' }
files['lua/stores/hosts/nginx_bell.lua'] = { std = 'luajit+ngx_lua' }
files['lua/stores/hosts/nginx_loop.lua'] = { std = 'luajit+ngx_lua' }
files['lua/stores/hosts/nginx_uncaught.lua'] = { std = 'luajit+ngx_lua' }
files['lua/stores/hosts/nginx_lasting.lua'] = { std = 'luajit+ngx_lua' }
files['examples/openresty/api.lua'] = { std = 'luajit+ngx_lua' }
files['examples/openresty/status.lua'] = { std = 'luajit+ngx_lua' }
