"""The package as users get it: built, installed in clean environments, and tried there."""
