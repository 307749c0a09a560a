"""The catalog in a real browser, from a folder and from a bucket. Makes the pictures of docs/catalog.md.

Needs Chromium and its driver (Debian: chromium, chromium-driver) and selenium; `make test-browser` fails
without them, `make test` leaves this out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

import hf_localize
from tests.commands.catalog.shelves import register_evil, register_pictures, register_sounds
from tests.conftest import ROOT, Desk
from tests.rig.browser import DESK, IS_REQUIRED, PHONE, Reader, require_browser
from tests.rig.hub import LoopbackHub

require_browser()
PICTURES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("profile"))
    yield reader
    reader.driver.quit()


@pytest.fixture
def shop(hub: LoopbackHub, desk: Desk) -> Desk:
    desk.bucket = "team-datasets"  # As the pictures show it.
    if desk.bucket not in {bucket["Name"] for bucket in desk.server.client().list_buckets()["Buckets"]}:
        desk.server.create_bucket(desk.bucket)
    desk.publisher().open_public_places()
    hf_localize.download_dataset("openai/gsm8k", "main", make_public=True)
    hf_localize.download_dataset("openai/gsm8k", "socratic", make_public=True)
    hf_localize.download_dataset("google-research-datasets/mbpp", "full")
    hf_localize.download_dataset("google-research-datasets/mbpp", "sanitized")
    register_pictures(desk.folder, rows=24, make_public=True)
    register_sounds(desk.folder, revision="v2")
    return desk


def shoot(reader: Reader, name: str, height: int | None = None) -> None:
    """Make a picture for the documents; not of an endpoint that is another one each time."""
    reader.run(
        "const code = document.getElementById('settings');"
        "code.textContent = code.textContent.replace(/http:[^ \\n]+/, 'https://s3.example.com')"
    )
    small = reader.picture(height).quantize(256, dither=Image.Dither.NONE)
    if IS_REQUIRED:
        PICTURES.mkdir(exist_ok=True)
        small.save(PICTURES / f"catalog-{name}.png", optimize=True)


def from_folder(shop: Desk) -> tuple[str, str]:
    hf_localize.write_catalog("catalog", title="Team datasets", contact="data@example.com")
    return f"file://{Path('catalog').resolve()}/index.html", ""


def from_bucket(shop: Desk) -> tuple[str, str]:
    url = hf_localize.publish_catalog(public=True, title="Team datasets").place
    return url, urlsplit(url).netloc


@pytest.mark.parametrize("place", [from_folder, from_bucket])
def test_a_reader_finds_a_dataset_and_copies_what_loads_it(
    place: Callable[[Desk], tuple[str, str]], shop: Desk, reader: Reader
) -> None:
    url, host = place(shop)
    is_bucket = bool(host)
    reader.asked(), reader.complaints()
    reader.open(url)
    everything = reader.shown(".card h2")
    assert len(everything) == (2 if is_bucket else 4)
    if not is_bucket:
        shoot(reader, "list", 840)
    reader.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
    reader.driver.switch_to.active_element.send_keys("GSM question")
    assert reader.shown(".card h2") == ["openai/gsm8k"]
    assert reader.find("#count").text.startswith("1 of ")
    reader.find(".card:not([hidden]) h2 a").click()
    reader.driver.back()
    assert reader.driver.current_url == f"{url}#words=GSM+question"
    assert (reader.shown(".card h2"), reader.find("#words").get_attribute("value")) == (
        ["openai/gsm8k"],
        "GSM question",
    )
    reader.find("#words").send_keys(" nothing-like-that")
    assert reader.shown(".card h2") == []
    reader.find("#reset").click()
    assert reader.shown(".card h2") == everything
    reader.run(
        "const kind = document.getElementById('kind'); kind.value = 'images';"
        "kind.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert reader.shown(".card h2") == ["team/shapes"]

    reader.find(".card:not([hidden]) h2 a").click()
    assert reader.find("h1").text == "team/shapes"
    pictures = reader.run(
        "return Array.from(document.querySelectorAll('.preview img')).map("
        "i => (i.loading = 'eager', i.decode().then(() => 0), i.naturalWidth))"
    )
    assert len(pictures) == 10
    assert (
        reader.driver.execute_async_script(
            "const done = arguments[0]; Promise.all(Array.from(document.images).map(i => i.decode()))"
            ".then(() => done(Math.min(...Array.from(document.images).map(i => i.naturalWidth))), e => done(String(e)))"
        )
        >= 300
    )

    origin = {} if not is_bucket else {"origin": f"http://{host}"}
    reader.cdp(
        "Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"], **origin
    )
    reader.find(".load .copy").click()
    code = reader.driver.execute_async_script(
        "const d = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(d, e => d(String(e))), 100)"
    )
    assert code == (
        "import hf_localize; hf_localize.install()\nfrom datasets import load_dataset\n"
        'dataset = load_dataset("team/shapes")'
    )
    assert reader.find(".load .copy").text == "Copied"
    reader.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # As over plain http.
    reader.find("aside .copy").click()
    assert reader.find("aside .copy").text == "Copied"
    if not is_bucket:
        reader.find(".crumbs a").click()
        assert reader.find("h1").text == "Team datasets"
        reader.open(url.replace("index.html", "datasets/team--tones--default--v2.html"))
        assert reader.driver.execute_async_script(
            "const done = arguments[0], a = document.querySelector('audio'); a.onloadedmetadata = () => done(a.duration);"
            "a.onerror = () => done(a.error.message); a.preload = 'auto'; a.load()"
        ) == pytest.approx(0.6, abs=0.05)
    assert reader.complaints() == []
    assert reader.asked() <= ({("http", host), ("data", "")} if is_bucket else {("file", ""), ("data", "")})


def test_it_is_readable_on_a_phone_in_the_dark_and_by_everybody(shop: Desk, reader: Reader) -> None:
    register_evil(shop.folder / "evil")
    url, _ = from_folder(shop)
    pages = sorted(Path("catalog/datasets").iterdir())
    reader.complaints()
    for size in (DESK, PHONE):
        for dark in (False, True):
            for page in (url, *(f"file://{page.resolve()}" for page in pages)):
                reader.open(page, size, dark=dark)
                wide, there = reader.run(
                    "const r = document.documentElement; return [r.scrollWidth, r.clientWidth]"
                )
                assert wide <= there, (page, size)
                if "evil" not in str(page):
                    assert reader.broken_words() == [], (page, size)
                ground = reader.run("return getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
                assert reader.weaknesses() == [], (page, size, dark)
    assert reader.complaints() == []


def test_pictures_for_the_documents(shop: Desk, reader: Reader) -> None:
    url, _ = from_folder(shop)
    reader.open(url.replace("index.html", "datasets/openai--gsm8k--main.html"))
    shoot(reader, "dataset")
    reader.open(url.replace("index.html", "datasets/team--shapes--default.html"), (1200, 1150), dark=True)
    shoot(reader, "dark")
    reader.open(url, PHONE)
    shoot(reader, "phone")
    assert all(
        (PICTURES / f"catalog-{n}.png").stat().st_size < 200_000 for n in ("list", "dataset", "dark", "phone")
    )
