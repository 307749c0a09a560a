"""``python -m hf_localize`` is the ``hg-localize`` command."""

from hf_localize.cli import main

main(prog_name="python -m hf_localize")
