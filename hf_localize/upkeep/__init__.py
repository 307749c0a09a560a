"""Checks, repairs and diagnoses."""
