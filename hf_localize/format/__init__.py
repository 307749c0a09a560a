"""The bytes and values of everything that is stored. It opens no connection."""
