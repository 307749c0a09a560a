"""The documentation site: ``python -m website`` stages its pages, builds it, and checks every link.

The pages are the repository's own Markdown files, readable where they lie. What is generated (the
command line, the Python API, what errors.py says of each error) is written when the site is built,
so it can't be out of date.
"""
