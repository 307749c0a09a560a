"""HTTP for bytes: connections of our own to one server, and public files by them."""
