"""The same work as with other programs, over links: `python -m benchmarks.links`."""
