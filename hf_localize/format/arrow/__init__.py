"""Arrow IPC streams: shards, where their record batches lie, and media in their rows."""
