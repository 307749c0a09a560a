"""The local store: its entries, where they lie, how they are found, and how they come and go."""
