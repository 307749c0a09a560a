"""The parsers of what others wrote, driven with inputs that grow by coverage: ``make fuzz``."""
