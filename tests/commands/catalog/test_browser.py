"""The catalog in a real browser, from a folder and from a bucket. Makes the pictures of docs/catalog.md.

Needs Chromium and its driver (Debian: chromium, chromium-driver) and selenium; `make test-browser` fails
without them, `make test` leaves this out.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

import hf_localize
from tests.commands.catalog.shelves import register_evil, register_pictures, register_sounds
from tests.conftest import ROOT, Desk
from tests.rig.hub import LoopbackHub

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
IS_REQUIRED = bool(os.environ.get("HGLOC_TEST_BROWSER"))
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--force-device-scale-factor=1",
)
PICTURES = ROOT / "docs" / "images"
DESK, PHONE = (1200, 900), (390, 844)


def _absent() -> str | None:
    """Return what this test needs and this machine does not have."""
    if not BROWSER or not DRIVER:
        return "Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)"
    try:
        import axe_core_python  # noqa: F401
        import selenium  # noqa: F401
    except ImportError as exc:
        return f"{exc.name} is not installed (make test-browser installs it)"
    return None


if (ABSENT := _absent()) and not IS_REQUIRED:
    pytest.skip(ABSENT, allow_module_level=True)


class Reader:
    """A person with a browser, who notes what it asks for and what it complains about."""

    def __init__(self, profile: Path) -> None:
        assert not ABSENT, ABSENT
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self._problems: list[str] = []
        self._asked: list[str] = []

    def open(self, url: str, size: tuple[int, int] = DESK, *, dark: bool = False) -> None:
        """Go to *url*, with a window of that size."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size[0] < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get(url)

    def cdp(self, command: str, **arguments: Any) -> Any:
        """Have the browser do something that only its developers' protocol knows."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, code: str) -> Any:
        """Return what JavaScript returns."""
        return self.driver.execute_script(code)

    def find(self, css: str) -> Any:
        """Return the first element that is like *css*."""
        return self.driver.find_element("css selector", css)

    def shown(self, css: str) -> list[str]:
        """Return the texts of elements that can be seen."""
        return [e.text for e in self.driver.find_elements("css selector", css) if e.is_displayed()]

    def shoot(self, name: str, height: int | None = None) -> None:
        """Make a picture for the documents; not of an endpoint that is another one each time."""
        self.run(
            "const code = document.getElementById('settings');"
            "code.textContent = code.textContent.replace(/http:[^ \\n]+/, 'https://s3.example.com')"
        )
        data = base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(data)) as image:
            part = image.convert("RGB").crop((0, 0, image.width, min(image.height, height or image.height)))
            small = part.quantize(256, dither=Image.Dither.NONE)
        if IS_REQUIRED:
            PICTURES.mkdir(exist_ok=True)
            small.save(PICTURES / f"catalog-{name}.png", optimize=True)

    def complaints(self) -> list[str]:
        """Return what stood in the console."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def asked(self) -> set[tuple[str, str]]:
        """Return scheme and host of each request."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return {(urlsplit(url).scheme, urlsplit(url).netloc) for url in urls}

    def weaknesses(self) -> list[str]:
        """Return where the page is hard to use for some people, as far as axe-core can tell."""
        import axe_core_python

        self.run((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then(r => done(r.violations), e => done([{id: String(e), nodes: []}]))"
        )
        assert all(item["nodes"] for item in found), found
        return [f"{item['id']}: {node['html'][:160]}" for item in found for node in item["nodes"]]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("profile"))
    yield reader
    reader.driver.quit()


@pytest.fixture
def shop(hub: LoopbackHub, desk: Desk) -> Desk:
    desk.bucket = "team-datasets"  # As the pictures show it.
    desk.server.create_bucket(desk.bucket)
    desk.publisher().open_public_places()
    hf_localize.download_dataset("openai/gsm8k", "main", make_public=True)
    hf_localize.download_dataset("openai/gsm8k", "socratic", make_public=True)
    hf_localize.download_dataset("google-research-datasets/mbpp", "full")
    hf_localize.download_dataset("google-research-datasets/mbpp", "sanitized")
    register_pictures(desk.folder, rows=24, make_public=True)
    register_sounds(desk.folder, revision="v2")
    return desk


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
        reader.shoot("list", 840)
    reader.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: '/', bubbles: true}))")
    reader.driver.switch_to.active_element.send_keys("GSM question")
    assert reader.shown(".card h2") == ["openai/gsm8k"]
    assert reader.find("#count").text.startswith("1 of ")
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
                ground = reader.run("return getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, ground[4:-1].split(","))) < 200) == dark
                assert reader.weaknesses() == [], (page, size, dark)
    assert reader.complaints() == []


def test_pictures_for_the_documents(shop: Desk, reader: Reader) -> None:
    url, _ = from_folder(shop)
    reader.open(url.replace("index.html", "datasets/openai--gsm8k--main.html"))
    reader.shoot("dataset")
    reader.open(url.replace("index.html", "datasets/team--shapes--default.html"), (1200, 1150), dark=True)
    reader.shoot("dark")
    reader.open(url, PHONE)
    reader.shoot("phone")
    assert all(
        (PICTURES / f"catalog-{n}.png").stat().st_size < 200_000 for n in ("list", "dataset", "dark", "phone")
    )
