"""Many files at once, verified, to and from the disk."""
