"""The catalogue: its pages, and what browsers make of them."""
