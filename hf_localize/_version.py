"""The version of hf_localize."""

__version__ = "0.1.0"
