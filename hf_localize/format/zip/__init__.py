"""ZIP archives: their layout, read by ranges, written at once by several threads."""
