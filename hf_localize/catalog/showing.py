"""Images and sounds as parts of a page, and values as cells of a table."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import os
import wave
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from hf_localize import text
from hf_localize.format.features import has_media

if TYPE_CHECKING:
    from PIL import Image

_IMAGE = Markup('<img alt="Image: {where}" loading="lazy" src="{src}">')
_SOUND = Markup('<audio controls preload="none" aria-label="Sound: {where}" src="{src}"></audio>')
#: What says who speaks in a message of a chat, and what says what.
_CHATS = (("role", "content"), ("from", "value"))
_MAX_LETTERS = 600
_MAX_ITEMS, _MAX_FIELDS, _MAX_TURNS = 4, 12, 8
#: More numbers are counted.
_MAX_NUMBERS = 16
_MAX_DEPTH = 4
#: A smaller picture is shown as it is, a larger one made smaller, if Pillow is here.
_SMALL_BYTES = 24 << 10
_MAX_IMAGE_BYTES = 96 << 10
_MAX_PIXELS = 64 << 20
_THUMBNAIL = (320, 320)
_MAX_SOUND_BYTES = 384 << 10
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
#: How files begin that browsers show, and that can't hold a script.
_IMAGES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_SOUNDS = {b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"ID3": "audio/mpeg"}


class Shower:
    """Show values of one page, whose images and sounds have no more than *most_bytes* together."""

    def __init__(self, most_bytes: int) -> None:
        self._left_bytes = most_bytes

    @staticmethod
    def note(told: str) -> Markup:
        """Return what stands in place of a value."""
        return Markup('<span class="none">{}</span>').format(told)

    def cell(self, value: Any, feature: Any, where: str, depth: int = 0) -> Markup:
        """Return what stands in a cell.

        Args:
            feature: its type, JSON as `datasets` writes it.
            where: tells of which row and column it is, for those who can't see it.
        """
        if value is None:
            return self.note("none")
        kind = feature.get("_type") if isinstance(feature, Mapping) else None
        if kind == "Image":
            return self._embedded(value, "image", _picture, _IMAGE, where)
        if kind == "Audio":
            return self._embedded(value, "sound", _playable, _SOUND, where)
        if kind == "ClassLabel" and isinstance(value, int):
            names = text.label_names(feature)
            return escape(names[value] if 0 <= value < len(names) else str(value))
        if depth < _MAX_DEPTH and (turns := _turns(value, feature)):
            return self._chat(turns, where, depth + 1)
        if depth < _MAX_DEPTH and isinstance(value, Mapping):
            return self._fields(value, feature, where, depth + 1)
        if depth < _MAX_DEPTH and _has_parts(value, feature):
            shown = [self.cell(item, _item(feature), where, depth + 1) for item in value[:_MAX_ITEMS]]
            more = f"and {len(value) - _MAX_ITEMS:,} more" if len(value) > _MAX_ITEMS else ""
            return Markup('<div class="several">{}{}</div>').format(Markup("").join(shown), more)
        if (shape := _shape(value)) and math.prod(shape) > _MAX_NUMBERS:
            count = " × ".join(f"{length:,}" for length in shape)
            return Markup('<span class="numbers">{} numbers</span>').format(count)
        return escape(_text(value, feature))

    def _chat(self, turns: list[tuple[str, Any, Any]], where: str, depth: int) -> Markup:
        shown = [
            Markup('<div class="turn"><b>{}</b>{}</div>').format(
                _shortened(role), self.cell(said, feature, where, depth)
            )
            for role, said, feature in turns[:_MAX_TURNS]
        ]
        if len(turns) > _MAX_TURNS:
            shown.append(self.note(f"and {text.plural(len(turns) - _MAX_TURNS, 'message')} more"))
        return Markup('<div class="chat">{}</div>').format(Markup("").join(shown))

    def _fields(self, value: Mapping[str, Any], feature: Any, where: str, depth: int) -> Markup:
        shown = [
            Markup("<div><b>{}</b> {}</div>").format(
                name, self.cell(item, _field(feature, name), where, depth)
            )
            for name, item in list(value.items())[:_MAX_FIELDS]
        ]
        if len(value) > _MAX_FIELDS:
            shown.append(self.note(f"and {text.plural(len(value) - _MAX_FIELDS, 'field')} more"))
        return Markup("").join(shown)

    def _embedded(
        self,
        value: Any,
        what: str,
        make: Callable[[bytes], tuple[str, bytes] | str],
        shown: Markup,
        where: str,
    ) -> Markup:
        """Show what *make* makes of the bytes in *value*; their name, or size and why, where it can't be."""
        data = value.get("bytes") if isinstance(value, Mapping) else None
        if not isinstance(data, bytes):
            path = value.get("path") if isinstance(value, Mapping) else None
            name = os.path.basename(str(path).replace("\\", "/")) if path else ""
            return self.note(f"{what} {name}".strip())
        made = make(data)
        if not isinstance(made, str) and len(made[1]) > self._left_bytes:
            made = "the page shows many of them already"
        if isinstance(made, str):
            return self.note(f"{what}, {text.size(len(data))}: {made}")
        kind, shorter = made
        self._left_bytes -= len(shorter)
        return shown.format(where=where, src=f"data:{kind};base64,{base64.b64encode(shorter).decode()}")


def _item(feature: Any) -> Any:
    """Return the type of a list's items; of an array its own, which tells that of its numbers."""
    if isinstance(feature, list):
        return feature[0] if feature else None
    if not isinstance(feature, Mapping) or str(feature.get("_type")).startswith("Array"):
        return feature
    return feature.get("feature", feature.get("dtype"))


def _field(feature: Any, name: str) -> Any:
    """Return the type of a field, which is a list where the struct is one of lists."""
    if not isinstance(feature, Mapping):
        return None
    if not isinstance(feature.get("_type"), str):
        return feature.get(name)
    inner = feature.get("feature")
    return [inner.get(name)] if isinstance(inner, Mapping) else None


def _has_parts(value: Any, feature: Any) -> bool:
    """Tell whether a value is a list whose items are shown one by one."""
    is_list = isinstance(value, (list, tuple)) and bool(value)
    return is_list and (has_media(feature) or any(isinstance(item, Mapping) for item in value))


def _turns(value: Any, feature: Any) -> list[tuple[str, Any, Any]]:
    """Return who says what in a chat, with the type of that; none: it is no chat."""
    names = [keys for keys in _CHATS if isinstance(value, Mapping) and set(keys) <= set(value)]
    if names and all(isinstance(said, list) for said in value.values()):  # A struct of lists.
        (role, content), kind = names[0], _field(feature, names[0][1])
        found = zip(value[role], value[content], itertools.repeat(_item(kind)), strict=False)
        return [turn for turn in found if isinstance(turn[0], str)]
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        return []
    for role, content in _CHATS:
        if all(isinstance(turn.get(role), str) and content in turn for turn in value):
            return [_turn(turn, role, content, _item(feature)) for turn in value]
    return []


def _turn(turn: Mapping[str, Any], role: str, content: str, feature: Any) -> tuple[str, Any, Any]:
    """Return who says what; what else there is, as a call of a tool, where nothing is said."""
    said = turn[content]
    if not said and (rest := {k: v for k, v in turn.items() if k not in (role, content) and v}):
        return turn[role], rest, feature
    if isinstance(said, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in said
    ):
        said = "\n".join(str(part.get("text")) for part in said)
    return turn[role], said, _field(feature, content)


def _shape(value: Any) -> tuple[int, ...]:
    """Return the lengths of a list of numbers, or of lists of the same length; empty: it is none."""
    if not isinstance(value, (list, tuple)) or not value:
        return ()
    if all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        return (len(value),)
    shapes = {_shape(item) for item in value}
    inner = shapes.pop()
    return (len(value), *inner) if inner and not shapes else ()


def _text(value: Any, feature: Any) -> str:
    plain = _plain(value, feature)
    is_nested = isinstance(plain, (dict, list))
    return _shortened(json.dumps(plain, ensure_ascii=False, default=str) if is_nested else str(plain))


def _shortened(told: str) -> str:
    return told if len(told) <= _MAX_LETTERS else f"{told[:_MAX_LETTERS]}… ({len(told):,} characters)"


def _plain(value: Any, feature: Any) -> Any:
    """Return a value as JSON has it, with numbers as short as their type lets them be told apart."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item, _field(feature, name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, _item(feature)) for item in value]
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    dtype = feature.get("dtype") if isinstance(feature, Mapping) else None
    if isinstance(value, float) and dtype in ("float16", "float32"):
        with np.errstate(all="ignore"):
            stored = getattr(np, dtype)(value)
        return float(str(stored)) if float(stored) == value else value
    return value


def _picture(data: bytes) -> tuple[str, bytes] | str:
    """Return media type and bytes of an image for a page, or why it can't be shown."""
    kind = _kind_of(data, _IMAGES) or ("image/webp" if _is_riff(data, b"WEBP") else None)
    try:
        from PIL import Image
    except ImportError:
        if kind is not None and len(data) <= _MAX_IMAGE_BYTES:
            return kind, data
        return "pip install 'hf-localize[catalog]' makes such images small"
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return "it has too many pixels"
            if kind is not None and len(data) <= _SMALL_BYTES:
                return kind, data
            return _thumbnail(image)
    except Exception:  # noqa: BLE001  # Decoders of images raise whatever they meet.
        return "it can't be decoded"


def _thumbnail(image: Image.Image) -> tuple[str, bytes]:
    image.draft("RGB", _THUMBNAIL)
    image.thumbnail(_THUMBNAIL)
    made = io.BytesIO()
    if "A" in image.getbands() or "transparency" in image.info:
        image.convert("RGBA").save(made, "PNG")
        return "image/png", made.getvalue()
    image.convert("L" if image.mode in ("1", "L") else "RGB").save(made, "JPEG", quality=82)
    return "image/jpeg", made.getvalue()


def _playable(data: bytes) -> tuple[str, bytes] | str:
    """Return media type and bytes of a sound for a page, or why it can't be played there."""
    if _is_riff(data, b"WAVE"):
        return ("audio/wav", data) if len(data) <= _MAX_SOUND_BYTES else _beginning(data)
    is_mpeg = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    kind = _kind_of(data, _SOUNDS) or ("audio/mpeg" if is_mpeg else None)
    if kind is None:
        return "in a format that browsers don't play"
    return (kind, data) if len(data) <= _MAX_SOUND_BYTES else "too long for this page"


def _beginning(data: bytes) -> tuple[str, bytes] | str:
    """Return the beginning of a sound that is stored as plain samples."""
    made = io.BytesIO()
    try:
        with wave.open(io.BytesIO(data)) as whole, wave.open(made, "wb") as part:
            part.setparams(whole.getparams())
            frame_bytes = whole.getsampwidth() * whole.getnchannels()
            part.writeframes(whole.readframes(_MAX_SOUND_BYTES // max(1, frame_bytes)))
    except (wave.Error, EOFError, ValueError, OverflowError):
        return "it can't be decoded"
    return "audio/wav", made.getvalue()


def _kind_of(data: bytes, kinds: Mapping[bytes, str]) -> str | None:
    return next((kind for head, kind in kinds.items() if data.startswith(head)), None)


def _is_riff(data: bytes, kind: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == kind
