"""Features and Arrow schemas in the form that every supported `datasets` reads.

`datasets` 4 renamed its list type: it writes ``List``, which versions below 4 refuse
("Feature type 'List' not found"). The older spellings are read by both, so entries hold those.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_localize.errors import IntegrityError

#: Types whose values may be paths to files beside the data, which an entry must embed.
_MEDIA_TYPES = frozenset({"Audio", "Image", "Video", "Pdf", "Nifti", "Mesh", "BioSequence", "BioStructure"})
_METADATA_KEY = b"huggingface"


def portable(feature: Any) -> Any:
    """Return features JSON (as of ``Features.to_dict()``) in the spelling that all versions read.

    ``List`` becomes ``Sequence``, and a list of structs becomes ``[struct]``, because ``Sequence``
    of a struct means a struct of lists. A fixed-length list of structs has no older spelling and
    stays as it is.
    """
    if isinstance(feature, list):
        return [portable(item) for item in feature]
    if not isinstance(feature, Mapping):
        return feature
    if feature.get("_type") != "List" or "feature" not in feature:
        return {key: portable(value) for key, value in feature.items()}
    inner = portable(feature["feature"])
    length = feature.get("length", -1)
    is_struct = isinstance(inner, Mapping) and not isinstance(inner.get("_type"), str)
    if not is_struct:
        return {"feature": inner, "length": length, "_type": "Sequence"}
    return [inner] if length == -1 else {"feature": inner, "length": length, "_type": "List"}


def has_media(feature: Any) -> bool:
    """Tell whether features JSON holds a type whose values may lie in files of their own."""
    if isinstance(feature, list):
        return any(map(has_media, feature))
    if not isinstance(feature, Mapping):
        return False
    kind = feature.get("_type")  # A column may have this name too.
    return (isinstance(kind, str) and kind in _MEDIA_TYPES) or any(map(has_media, feature.values()))


def write_portable_shard(source: Path, target: Path) -> None:
    """Place the Arrow stream file *source* at *target* with portable schema metadata.

    The file is linked where its metadata is portable already (copied where it can't be linked);
    otherwise only the schema message at its head is written anew.

    Raises:
        IntegrityError: *source* is not an Arrow stream.
    """
    head = _portable_head(source)
    if head is None:
        link_or_copy(source, target)
        return
    message, offset = head
    with open(source, "rb") as reader, open(target, "wb") as writer:
        writer.write(message)
        reader.seek(offset)
        shutil.copyfileobj(reader, writer, 1 << 20)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link *source* at *target*, or copy it where the file system does not allow a link."""
    try:
        os.link(source, target)
    except OSError:  # Where *source* is missing, the copy says so.
        shutil.copyfile(source, target)


def link_or_symlink(source: Path, target: Path) -> None:
    """Hard-link *source* at *target*, or point a symbolic link at it where that is not allowed.

    Raises:
        FileNotFoundError: there is no *source* any more.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        target.symlink_to(source)


def _portable_head(source: Path) -> tuple[bytes, int] | None:
    """Return a new schema message and the length of the old one; None where none is needed."""
    import pyarrow as pa

    try:
        with open(source, "rb") as file:
            prefix = file.read(8)
            # Encapsulated message format: continuation marker, then the metadata's length.
            # https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
            if prefix[:4] != b"\xff\xff\xff\xff" or len(prefix) != 8:
                raise IntegrityError(f"{source} is not an Arrow stream")
            offset = 8 + int.from_bytes(prefix[4:], "little")
            file.seek(0)
            schema = pa.ipc.read_schema(pa.py_buffer(file.read(offset)))
    except pa.ArrowInvalid as exc:
        raise IntegrityError(f"{source} is not an Arrow stream: {exc}") from exc
    metadata = dict(schema.metadata or {})
    if b'"List"' not in metadata.get(_METADATA_KEY, b""):
        return None
    document = json.loads(metadata[_METADATA_KEY])
    document["info"]["features"] = portable(document["info"]["features"])
    metadata[_METADATA_KEY] = json.dumps(document).encode()
    return schema.with_metadata(metadata).serialize().to_pybytes(), offset
