"""Patching of `datasets`, and activation from outside the program."""
