"""What hf_localize costs, beside what people would use instead: `python -m benchmarks`."""
