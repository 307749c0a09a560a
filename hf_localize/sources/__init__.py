"""The places that may have a dataset, one module each."""
