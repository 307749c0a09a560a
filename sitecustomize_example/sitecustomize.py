"""Put this folder on PYTHONPATH: with HGLOC_AUTO_INSTALL=1 every Python program loads localized datasets."""

import os

if os.environ.get("HGLOC_AUTO_INSTALL", "0") not in ("", "0"):
    try:
        from hf_localize.shim import auto_install
    except Exception as exc:  # noqa: BLE001  # A program must always start.
        import sys

        sys.stderr.write(f"hf_localize could not be activated: {exc!r}\n")
    else:
        auto_install()
