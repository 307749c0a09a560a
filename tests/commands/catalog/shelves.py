"""Datasets to make a catalog of, and its pages as a reader of HTML sees them."""

from __future__ import annotations

import io
import math
import re
import struct
import wave
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import datasets
import pyarrow as pa
from PIL import Image, ImageDraw

import hf_localize
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from hf_localize.store.commit import commit
from hf_localize.store.staging import staging_folder

#: What would run, or ask another host, if it were taken for markup.
EVIL = "</code></pre><script>alert('evil')</script><img src=https://evil.example/x onerror=alert(1)>\"'&$x"
EVIL_CARD = f"""---
license: '"><script>alert(2)</script>'
pretty_name: "{{{{ $title }}}}"
language: [en, '<b>']
---
# A card <script>alert(3)</script>

<iframe src="https://evil.example"></iframe> <a href="javascript:alert(4)">here</a> {EVIL}

[run](javascript:alert(5)) [data](data:text/html,<script>alert(6)</script>) [file](./data/x.csv)
[good](https://good.example/page "title") ![badge](https://evil.example/badge.svg)

<style>@import "https://evil.example/x.css";</style>

```"><script>
alert(7)
```
"""
COLORS = ("red", "green", "blue", "golden")


def picture(color: str, number: int) -> Image.Image:
    """Return a drawing of its own for each number."""
    image = Image.new("RGB", (480, 320), "#f4f1ea")
    draw = ImageDraw.Draw(image)
    fills = {"red": "#c8473f", "green": "#3d8f5f", "blue": "#3b6fc4", "golden": "#d9a12c"}
    for step in range(6):
        x, y = 40 + 66 * step, 160 + 90 * math.sin(step * 0.9 + number)
        draw.ellipse((x - 34, y - 34, x + 34, y + 34), fill=fills[color], outline="#22252b", width=3)
    return image


def sound(hertz: float, seconds: float = 0.6) -> bytes:
    """Return a tone, as a WAV file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        steps = range(int(8000 * seconds))
        file.writeframes(
            b"".join(struct.pack("<h", int(9000 * math.sin(hertz * 2 * math.pi * n / 8000))) for n in steps)
        )
    return made.getvalue()


def register_pictures(folder: Path, dataset_id: str = "team/shapes", rows: int = 8, **how: object) -> None:
    """Register a dataset with images, and names for their colors."""
    features = datasets.Features(
        {"image": datasets.Image(), "color": datasets.ClassLabel(names=list(COLORS))}
    )
    made = {
        split: datasets.Dataset.from_dict(
            {
                "image": [picture(COLORS[n % 4], n) for n in range(count)],
                "color": [n % 4 for n in range(count)],
            },
            features=features,
        )
        for split, count in (("train", rows), ("test", max(1, rows // 4)))
    }
    text = "Six discs of one color along a wave, drawn to try classifiers of images on something small."
    _register(datasets.DatasetDict(made), folder / "shapes", "cc0-1.0", "Shapes", text, dataset_id, how)


def register_sounds(folder: Path, dataset_id: str = "team/tones", **how: object) -> None:
    """Register a dataset with sounds, encoded by hand: `datasets` wants a codec for that."""
    features = datasets.Features(
        {
            "audio": datasets.Audio(sampling_rate=8000),
            "hertz": datasets.Value("float64"),
            "notes": datasets.Sequence(datasets.Value("string")),
        }
    )
    tones = (220.0, 330.0, 440.0)
    rows = {
        "audio": [{"bytes": sound(hertz), "path": f"{hertz:.0f}.wav"} for hertz in tones],
        "hertz": list(tones),
        "notes": [["A3"], ["E4", "fifth"], ["A4", "octave"]],
    }
    made = datasets.Dataset(pa.table(rows, schema=features.arrow_schema))
    text = "Plain tones, each with its frequency and the names of its note."
    _register(made, folder / "tones", "cc-by-4.0", "Tones", text, dataset_id, how)


def _register(
    made: datasets.Dataset | datasets.DatasetDict,
    folder: Path,
    license_name: str,
    title: str,
    text: str,
    dataset_id: str,
    how: dict[str, object],
) -> None:
    """Register a dataset as a folder with a card."""
    made.save_to_disk(str(folder))
    (folder / "README.md").write_text(f"---\nlicense: {license_name}\n---\n# {title}\n\n{text}\n")
    hf_localize.register_dataset(str(folder), dataset_id, **how)  # type: ignore[arg-type]


def register_evil(folder: Path, dataset_id: str = "team/evil") -> None:
    """Publish a dataset of which every part tries to become markup: its config's name, not by `register`."""
    made = datasets.Dataset.from_dict({EVIL: [EVIL, EVIL], "n": [1, 2]})
    labelled = made.cast_column("n", datasets.ClassLabel(names=["a", EVIL, "b"]))
    labelled.save_to_disk(str(folder))
    (folder / "README.md").write_text(EVIL_CARD)
    revision = '"><svg onload=alert(9)>'
    hf_localize.register_dataset(str(folder), dataset_id, "a", revision, skip_s3_upload=True)
    store = current_session().store
    entry = store.find(DatasetRef(dataset_id, "a", revision))
    assert entry is not None
    manifest = replace(entry.manifest, config_name="<script>alert(8)<", resolved_config="<script>alert(8)<")
    with staging_folder(store, "evil") as staged:
        entry.link_into(staged)
        commit(store, staged, manifest)
    hf_localize.remove_dataset(dataset_id, "a", revision)
    hf_localize.sync_local_dataset_to_s3(dataset_id, manifest.config_name, revision)


#: All that a page has of elements: of a dataset's card none but Markdown's.
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title link style body a header div span main nav section aside footer h1 h2 h3 h4 h5 h6 p ul ol li"
        " dl dt dd table thead tbody tr th td small code pre button form label input select option details summary b svg"
        " rect img audio script strong em blockquote hr br s",
    )
)


@dataclass
class Page(HTMLParser):
    """What of a page matters: tags, attributes, texts."""

    text: str
    tags: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    metas: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._raw: list[str] | None = None
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids += [told["id"]] if "id" in told else []
        self.links += [
            (f"{tag} {name}", told[name])
            for name in ("href", "src", "action", "srcset", "poster")
            if name in told
        ]
        self.handlers += [name for name in told if name.startswith("on") or name == "style"]
        if tag in ("script", "style"):
            self._raw = self.scripts if tag == "script" else self.styles
            self._raw.append("")
        if tag == "meta":
            self.metas[told.get("name") or told.get("http-equiv", "")] = told.get("content", "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is not None:
            self._raw[-1] += data
        else:
            self.shown.append(data)
