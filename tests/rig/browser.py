"""A person with a browser: Chromium, by selenium (Debian: chromium, chromium-driver)."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
IS_REQUIRED = bool(os.environ.get("HGLOC_TEST_BROWSER"))
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--force-device-scale-factor=1",
)
DESK, PHONE = (1200, 900), (390, 844)
#: Looks at each word of the texts that can be seen; a name may be divided after its hyphens, slashes and underscores.
_BROKEN_WORDS = r"""
const found = [], walker = document.createTreeWalker(document.querySelector(arguments[0]), NodeFilter.SHOW_TEXT), range = document.createRange();
while (walker.nextNode()) {
  const node = walker.currentNode;
  range.selectNodeContents(node);
  if (range.getClientRects().length < 2) { continue; }
  if (!node.parentElement.checkVisibility() || node.parentElement.closest(".sr")) { continue; }
  for (const part of node.data.matchAll(/[^\s\/_-]{2,}/g)) {
    for (const word of part[0].length > 24 ? [] : part[0].matchAll(/[\p{L}\p{N}]{2,}/gu)) {
      range.setStart(node, part.index + word.index);
      range.setEnd(node, part.index + word.index + word[0].length);
      if (new Set(Array.from(range.getClientRects(), r => Math.round(r.top / 8))).size > 1) { found.push(word[0]); }
    }
  }
}
return found;
"""


def absent() -> str | None:
    """Return what this test needs and this machine does not have."""
    if not BROWSER or not DRIVER:
        return "Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)"
    try:
        import axe_core_python  # noqa: F401
        import selenium  # noqa: F401
    except ImportError as exc:
        return f"{exc.name} is not installed (make test-browser installs it)"
    return None


def require_browser(site: Path | None = None) -> None:
    """Skip the tests of a module where a browser or *site* is missing; `make test-browser` fails instead."""
    problem = absent()
    if problem is None and site is not None and not site.is_dir():
        problem = f"{site} is missing: `make docs` builds it"
    if problem and not IS_REQUIRED:
        pytest.skip(problem, allow_module_level=True)
    assert not problem, problem


class Reader:
    """A person with a browser, who notes what it asks for and what it complains about."""

    def __init__(self, profile: Path) -> None:
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

    def run(self, code: str, *arguments: Any) -> Any:
        """Return what JavaScript returns."""
        return self.driver.execute_script(code, *arguments)

    def find(self, css: str) -> Any:
        """Return the first element that is like *css*."""
        return self.driver.find_element("css selector", css)

    def shown(self, css: str) -> list[str]:
        """Return the texts of elements that can be seen."""
        return [e.text for e in self.driver.find_elements("css selector", css) if e.is_displayed()]

    def picture(self, height: int | None = None) -> Image.Image:
        """Return what the window shows, or the upper part of it."""
        data = base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"])
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB").crop((0, 0, image.width, min(image.height, height or image.height)))

    def broken_words(self, css: str = "body") -> list[str]:
        """Return the words in *css* that stand on more than one line; not those longer than a phone's line."""
        return list(self.run(_BROKEN_WORDS, css))

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
