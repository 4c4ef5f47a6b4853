"""Files on disk: atomic writes, the region store, the example tables and the prepared folder."""
