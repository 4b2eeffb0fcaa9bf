--- What tools/stores runs.
require('stores.command')(arg)
