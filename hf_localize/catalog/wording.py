"""What kinds of data a dataset has, and code, as a catalog words them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from hf_localize.format.features import types_in
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import FILES_CONFIG, DatasetRef

_MAX_DEPTH = 6
_INSTALL = "import hf_localize; hf_localize.install()"
_INSTALL_PUBLIC = 'import hf_localize; hf_localize.install(sources=("local", "public"))'
#: Feature types that say what kind of data a dataset is, and the words for it.
_KINDS = {
    "Image": "images",
    "Audio": "audio",
    "Video": "video",
    "Pdf": "documents",
    "Mesh": "3D",
    "Nifti": "3D",
    "Translation": "text",
    "TranslationVariableLanguages": "text",
    "BioSequence": "biology",
    "BioStructure": "biology",
}


def kinds_of(manifest: Manifest) -> tuple[str, ...]:
    """Return, in words, what kinds of data a dataset has."""
    if manifest.ref.config_name == FILES_CONFIG:
        return ("files",)
    types = types_in(manifest.features)
    kinds = {_KINDS[kind] for kind in types if kind in _KINDS}
    if _has_text(manifest.features):
        kinds.add("text")
    return tuple(sorted(kinds)) or ("numbers",)


def _has_text(feature: Any, depth: int = 0) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(feature, Mapping):
        if feature.get("_type") == "Value" and feature.get("dtype") in ("string", "large_string"):
            return True
        return any(_has_text(item, depth + 1) for item in feature.values())
    return isinstance(feature, list) and any(_has_text(item, depth + 1) for item in feature)


def load_code(ref: DatasetRef, manifest: Manifest | None, *, is_public: bool) -> str:
    """Return the three lines of Python that load a dataset; *is_public*: for outsiders."""
    arguments = [ref.dataset_id]
    named = ""
    if ref.config_name == FILES_CONFIG:
        path = next((file.path for file in manifest.files), "…") if manifest else "…"
        named = f", data_files={_quoted(path)}"
    elif ref.config_name is not None:
        arguments.append(ref.config_name)
    if ref.revision is not None:
        named += f", revision={_quoted(ref.revision)}"
    call = f"load_dataset({', '.join(map(_quoted, arguments))}{named})"
    return (
        f"{_INSTALL_PUBLIC if is_public else _INSTALL}\nfrom datasets import load_dataset\ndataset = {call}"
    )


def snapshot_code(repo_type: str, repo_id: str, commit: str | None) -> str:
    """Return the three lines of Python that bring the files of a repository."""
    arguments = [_quoted(repo_id)]
    arguments += [f"repo_type={_quoted(repo_type)}"] if repo_type != "model" else []
    arguments += [f"revision={_quoted(commit)}"] if commit else []
    call = f"snapshot_download({', '.join(arguments)})"
    return f"{_INSTALL}\nfrom huggingface_hub import snapshot_download\npath = {call}"


def settings_code(variables: Mapping[str, str]) -> str:
    """Return the shell commands that set *variables*."""
    return "\n".join(f"export {name}={shlex.quote(text)}" for name, text in variables.items())


def _quoted(text: str) -> str:
    """Return *text* as a literal of Python."""
    return json.dumps(text, ensure_ascii=False)
