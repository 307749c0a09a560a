"""Put this folder on PYTHONPATH: with HGLOC_AUTO_INSTALL=1 every Python program loads localized datasets.

A ``sitecustomize`` further along ``sys.path``, which this one hides, still runs.
"""

import os
import sys


def _activate() -> None:
    try:
        from hf_localize.shim.activation import auto_install

        auto_install()
    except Exception as exc:  # noqa: BLE001  # A program must always start.
        sys.stderr.write(f"hf_localize could not be activated: {exc!r}\n")


def _run_the_hidden_one() -> None:
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    folders = [os.path.realpath(folder) for folder in sys.path]
    here = os.path.dirname(os.path.realpath(__file__))
    further = folders[folders.index(here) + 1 :] if here in folders else []
    spec = PathFinder.find_spec("sitecustomize", [folder for folder in further if folder != here])
    if spec is not None and spec.loader is not None:
        hidden = module_from_spec(spec)
        sys.modules[__name__] = hidden  # As if this one were not here.
        spec.loader.exec_module(hidden)


if os.environ.get("HGLOC_AUTO_INSTALL", "0") not in ("", "0"):
    _activate()
_run_the_hidden_one()
