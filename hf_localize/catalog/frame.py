"""The frame of a page: templates, style, script, and the policy that allows these and nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hf_localize import text
from hf_localize._version import __version__
from hf_localize.catalog import wording
from hf_localize.errors import SettingsError

if TYPE_CHECKING:
    from jinja2 import Environment

_MAX_UNDIVIDED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What all pages of a catalog tell."""

    title: str
    #: The day on which it was made.
    made: str
    is_public: bool
    #: Settings by which a reader finds the datasets; none of them is a credential.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Whom to ask for access.
    contact: str | None = None

    @property
    def contact_url(self) -> str | None:
        """Return the link to the contact; None where it is words."""
        if re.fullmatch(r"https?://\S+", self.contact or ""):
            return self.contact
        return f"mailto:{self.contact}" if re.fullmatch(r"[^\s@/]+@[^\s@/]+", self.contact or "") else None


def page(about: About, template: str, *, home: str = "index.html", **parts: Any) -> bytes:
    """Return the page that *template* makes of *parts*, all of which is escaped.

    Args:
        home: where the first page is, as a relative URL.
    """
    style, script = _text("catalog.css"), _text("catalog.js")
    # Style and script are in the page, by their hashes: so a page is one file, which browsers treat
    # alike from a folder and from a server, and nothing that a dataset brings along can run.
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    frame = {"about": about, "home": home, "policy": policy, "style": style, "script": script}
    made = environment().get_template(template).render(**frame, **parts)
    return made.encode("utf-8", "replace")


@functools.cache
def environment() -> Environment:
    """Return the templates.

    Raises:
        SettingsError: the packages of the extra `catalog` are not installed.
    """
    try:
        import jinja2
        import markdown_it  # noqa: F401
        import nh3  # noqa: F401
    except ImportError as exc:
        needed = "the catalog needs the packages jinja2, markdown-it-py and nh3"
        raise SettingsError(f"{needed}: pip install 'hf-localize[catalog]'") from exc
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_localize.catalog"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(version=__version__, settings_code=wording.settings_code)
    made.filters.update(size=text.size, plural=text.plural, type=text.type_of, spans=_spans, parts=_parts)
    return made


def _spans(sizes: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield where each part of a bar starts, and its width, in percent."""
    whole, start = sum(sizes) or 1, 0.0
    for size in sizes:
        yield f"{start:.3f}", f"{100 * size / whole:.3f}"
        start += 100 * size / whole


def _parts(name: str) -> list[str]:
    """Return the parts between which a long name may be divided, rather than within a word."""
    return [name] if len(name) <= _MAX_UNDIVIDED else re.findall(r"[^_]*_*", name)[:-1]


@functools.cache
def _text(name: str) -> str:
    return (files("hf_localize.catalog") / "templates" / name).read_text("utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
