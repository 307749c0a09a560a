"""The catalog: a static site of what a bucket has, or of what is public."""
