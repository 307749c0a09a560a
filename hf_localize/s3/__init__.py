"""S3: the only package that knows it. A bucket, the ways to it, what it holds and how that changes."""
