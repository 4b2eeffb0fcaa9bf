--- In the source tree the module is migrations.lua at the top, and this file leads to it; an
--- installation has the module itself here.

local top = debug.getinfo(1, 'S').source:match('^@(.*)lua/stores/migrations%.lua$')
if not top then error('stores.migrations: cannot tell where the source tree is') end

return assert(loadfile(top .. 'migrations.lua'))(...)
