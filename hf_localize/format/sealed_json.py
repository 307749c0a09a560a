"""JSON as bytes: as we write it, ended by a checksum of its own, and as we take it from others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hf_localize.errors import IntegrityError

#: A manifest of 100,000 files has some 20 MB; more is refused before it is parsed.
MAX_JSON_BYTES = 64 << 20
#: The same manifest has a million values, and an empty object takes 64 bytes where it has three in JSON.
_MAX_VALUES = 4_000_000
#: The bytes that UTF-8 uses for characters of the basic multilingual plane.
_BASIC_PLANE = bytes(range(0xF0))
#: Before the last field: the sha256 of all that stands before this.
_SEAL = b',\n "checksum": "'


def sealed(document: Mapping[str, Any]) -> bytes:
    """Return a JSON object as bytes that end with the checksum of what stands before it."""
    return _with_seal(json_bytes(document).removesuffix(b"\n}"))


def is_as_written(data: bytes, document: Mapping[str, Any]) -> bool:
    """Tell whether *data*, read as *document*, has its checksum, or is of a time before there was one.

    A reader takes JSON without one. So a wrong byte in the checksum's own name is seen here only.
    """
    return _SEAL in data or json_bytes(document) == data


def _with_seal(body: bytes) -> bytes:
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"\n}'


def check_seal(data: bytes, where: str) -> None:
    """Raise IntegrityError where *data* has a checksum, and it is not that of what stands before it."""
    body, seal, _ = data.rpartition(_SEAL)
    if seal and _with_seal(body) != data:
        raise IntegrityError(f"{where} is damaged: its checksum does not match")


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return *document* as UTF-8 JSON: a line for each field, and no byte too many in it.

    Somebody who wants the first row of a large dataset reads all of this first.
    """
    lines = (
        f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for key, value in document.items()
    )
    return ("{\n" + ",\n".join(lines) + "\n}").encode()


def parse_json(data: bytes, where: str) -> Any:
    """Return the JSON value that *data* holds.

    Raises:
        IntegrityError: it is too large, not UTF-8, not JSON, or nested too deep.
    """
    if len(data) > MAX_JSON_BYTES:
        raise IntegrityError(f"{where} has {len(data)} bytes, more than {MAX_JSON_BYTES}")
    # One of these is before each value.
    if len(data) > _MAX_VALUES and sum(map(data.count, (b"[", b"{", b",", b":"))) > _MAX_VALUES:
        raise IntegrityError(f"{where} has more than {_MAX_VALUES} values")
    try:
        # One letter beyond the basic plane has each take four bytes of memory.
        if len(data) > MAX_JSON_BYTES // 2 and bytes(data).translate(None, _BASIC_PLANE):
            raise ValueError("its text takes too much memory")
        return _decode(str(data, "utf-8"))
    except (ValueError, RecursionError, MemoryError) as exc:
        raise IntegrityError(f"{where} is not JSON: {str(exc)[:200]}") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
