"""Images and sounds as parts of a page, and values as cells of a table."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import wave
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hf_localize import text
from hf_localize.catalog.markup import Html, element, joined
from hf_localize.format.features import has_media

if TYPE_CHECKING:
    from PIL import Image

_MAX_LETTERS = 600
_MAX_ITEMS = 4
_MAX_DEPTH = 6
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

    def cell(self, value: Any, feature: Any, where: str, depth: int = 0) -> Html:
        """Return what stands in a cell.

        Args:
            feature: its type, JSON as `datasets` writes it.
            where: tells of which row and column it is, for those who can't see it.
        """
        if value is None:
            return element("span", "none", class_="none")
        kind = feature.get("_type") if isinstance(feature, Mapping) else None
        if kind == "Image":
            image = functools.partial(element, "img", alt=f"Image: {where}", loading="lazy")
            return self._embedded(value, "image", _picture, image)
        if kind == "Audio":
            label = f"Sound: {where}"
            sound = functools.partial(element, "audio", controls=True, preload="none", aria_label=label)
            return self._embedded(value, "sound", _playable, sound)
        if kind == "ClassLabel" and isinstance(value, int):
            names = text.label_names(feature)
            return joined(names[value] if 0 <= value < len(names) else str(value))
        if depth < _MAX_DEPTH and has_media(feature):
            return self._nested(value, feature, where, depth + 1)
        return joined(_text(value))

    def _nested(self, value: Any, feature: Any, where: str, depth: int) -> Html:
        inner = feature[0] if isinstance(feature, list) else feature.get("feature")
        if isinstance(value, list) and inner is not None:
            shown = [self.cell(item, inner, where, depth) for item in value[:_MAX_ITEMS]]
            more = f"and {len(value) - _MAX_ITEMS} more" if len(value) > _MAX_ITEMS else None
            return element("div", *shown, more, class_="several")
        if isinstance(value, Mapping) and isinstance(feature, Mapping):
            fields = inner if isinstance(inner, Mapping) else feature
            return joined(
                *(
                    element("div", element("b", name), " ", self.cell(item, fields.get(name), where, depth))
                    for name, item in value.items()
                )
            )
        return joined(_text(value))

    def _embedded(
        self,
        value: Any,
        what: str,
        make: Callable[[bytes], tuple[str, bytes] | None],
        shown: Callable[..., Html],
    ) -> Html:
        """Show what *make* makes of the bytes in *value*; their name or size where that can't be."""
        data = value.get("bytes") if isinstance(value, Mapping) else None
        if not isinstance(data, bytes):
            return _named(value, what)
        made = make(data)
        if made is None or len(made[1]) > self._left_bytes:
            return element("span", f"{what}, {text.size(len(data))}", class_="none")
        kind, shorter = made
        self._left_bytes -= len(shorter)
        return shown(src=f"data:{kind};base64,{base64.b64encode(shorter).decode()}")


def _named(value: Any, what: str) -> Html:
    path = value.get("path") if isinstance(value, Mapping) else None
    name = os.path.basename(str(path).replace("\\", "/")) if path else ""
    return element("span", f"{what} {name}".strip(), class_="none")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        if isinstance(value, (Mapping, list, tuple)):
            value = json.dumps(value, ensure_ascii=False, default=_plain)
        else:
            value = str(_plain(value) if isinstance(value, bytes) else value)
    if len(value) <= _MAX_LETTERS:
        return str(value)
    return f"{value[:_MAX_LETTERS]}… ({len(value):,} characters)"


def _plain(value: Any) -> str:
    return f"({len(value):,} bytes)" if isinstance(value, bytes) else str(value)


def _picture(data: bytes) -> tuple[str, bytes] | None:
    """Return media type and bytes of an image for a page; None: it can't be shown."""
    kind = _kind_of(data, _IMAGES) or ("image/webp" if _is_riff(data, b"WEBP") else None)
    try:
        from PIL import Image
    except ImportError:
        return (kind, data) if kind is not None and len(data) <= _MAX_IMAGE_BYTES else None
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            is_small = len(data) <= _SMALL_BYTES
            return (kind, data) if kind is not None and is_small else _thumbnail(image)
    except Exception:  # noqa: BLE001  # Decoders of images raise whatever they meet.
        return None


def _thumbnail(image: Image.Image) -> tuple[str, bytes]:
    image.draft("RGB", _THUMBNAIL)
    image.thumbnail(_THUMBNAIL)
    made = io.BytesIO()
    if "A" in image.getbands() or "transparency" in image.info:
        image.convert("RGBA").save(made, "PNG")
        return "image/png", made.getvalue()
    image.convert("L" if image.mode in ("1", "L") else "RGB").save(made, "JPEG", quality=82)
    return "image/jpeg", made.getvalue()


def _playable(data: bytes) -> tuple[str, bytes] | None:
    """Return media type and bytes of a sound for a page; None: it can't be played, or is too long."""
    if _is_riff(data, b"WAVE"):
        return ("audio/wav", data) if len(data) <= _MAX_SOUND_BYTES else _beginning(data)
    is_mpeg = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    kind = _kind_of(data, _SOUNDS) or ("audio/mpeg" if is_mpeg else None)
    return (kind, data) if kind is not None and len(data) <= _MAX_SOUND_BYTES else None


def _beginning(data: bytes) -> tuple[str, bytes] | None:
    """Return the beginning of a sound that is stored as plain samples."""
    made = io.BytesIO()
    try:
        with wave.open(io.BytesIO(data)) as whole, wave.open(made, "wb") as part:
            part.setparams(whole.getparams())
            frame_bytes = whole.getsampwidth() * whole.getnchannels()
            part.writeframes(whole.readframes(_MAX_SOUND_BYTES // max(1, frame_bytes)))
    except (wave.Error, EOFError, ValueError, OverflowError):
        return None
    return "audio/wav", made.getvalue()


def _kind_of(data: bytes, kinds: Mapping[bytes, str]) -> str | None:
    return next((kind for head, kind in kinds.items() if data.startswith(head)), None)


def _is_riff(data: bytes, kind: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == kind
