"""A user's script, as it was before hf_localize: it loads GSM8K in the usual ways and knows only `datasets`.

For each load it prints one JSON line. The milliseconds reach from the call to the last row read.

    python teammate.py [whole] [slice] [stream]
"""

import hashlib
import json
import sys
import time

from datasets import load_dataset

LOADS = {
    "whole": lambda: load_dataset("openai/gsm8k", "main"),
    "slice": lambda: load_dataset("openai/gsm8k", "main", split="train[:10%]+test"),
    "stream": lambda: load_dataset("openai/gsm8k", "main", split="test", streaming=True),
}


def report(name: str) -> dict[str, object]:
    """Load, read every row, and tell how long it took and what came."""
    started = time.perf_counter()
    loaded = LOADS[name]()
    splits = loaded if isinstance(loaded, dict) else {"": loaded}
    rows = [(split, row) for split, part in splits.items() for row in part]
    milliseconds = (time.perf_counter() - started) * 1000
    content = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {"load": name, "milliseconds": round(milliseconds), "rows": len(rows), "sha256": content}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or LOADS:
        print(json.dumps(report(chosen)), flush=True)
