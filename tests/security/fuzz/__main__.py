"""Run the fuzzer: ``python -m tests.security.fuzz --seconds 600``. A finding ends it with the input that made it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hf_localize", "zipfile", "json"]):
    from tests.security.fuzz.targets import TARGETS, run, seeds


def one_input(data: bytes) -> None:
    """Give *data* but its first byte to the parser that this byte names."""
    if data:
        run(TARGETS[data[0] % len(TARGETS)], data[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="Inputs to begin with, and to which new ones are added.")
    options = parser.parse_args()
    folder = options.corpus or Path(tempfile.mkdtemp(prefix="hf_localize-corpus-"))
    folder.mkdir(exist_ok=True)
    for number, target in enumerate(TARGETS):
        for index, data in enumerate(seeds()[target.__name__]):
            (folder / f"seed-{target.__name__}-{index}").write_bytes(bytes([number]) + data)
    flags = [f"-max_total_time={options.seconds}", "-max_len=20000", "-timeout=20", "-rss_limit_mb=2048"]
    flags += ["-print_final_stats=1", f"-artifact_prefix={folder}/finding-"]
    atheris.Setup([sys.argv[0], *flags, str(folder)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
