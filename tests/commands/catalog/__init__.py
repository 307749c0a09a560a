"""The catalog: its pages, and what browsers make of them."""
