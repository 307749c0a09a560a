"""Finish a built site, and check it: each link leads somewhere, and no other host is sent a request."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a browser fetches by itself, by the attribute that names it.
_FETCHED = {
    "script": "src", "img": "src", "iframe": "src", "audio": "src", "video": "src", "source": "src",
    "link": "href",
}  # fmt: skip
#: Of `link`: what only tells of another address.
_NOT_FETCHED = {"canonical", "next", "prev", "alternate"}
#: Code: a block of it, which a phone wraps, or within a line; and the texts in it.
_CODE = re.compile(r"<pre.*?</pre>|<code[^>]*>[^<]+</code>", flags=re.DOTALL)
_TEXT = re.compile(r"(?<=>)[^<]+(?=<)")
_DIVISION = re.compile(r"(?<=[_/=(.])(?=[^_/=(.])")


def divisible(html: str) -> str:
    """Return a page whose code may be divided after ``_``, ``/``, ``=``, ``(`` and ``.``, not in mid-word."""

    def divided(found: re.Match[str]) -> str:
        return _TEXT.sub(lambda text: _DIVISION.sub("<wbr>", text[0]), found[0])

    return _CODE.sub(divided, html)


class _Page(HTMLParser):
    """The ids of one page, what it links to, and what it fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        needed = _FETCHED.get(tag)
        if needed in given and not _NOT_FETCHED & set(given.get("rel", "").split()):
            self.fetched.append(given[needed])
            self.links.append(given[needed])


def problems_of(site: Path) -> list[str]:
    """Return, in words, what is wrong with the site in the folder *site*."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: _Page(text) for path, text in texts.items() if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where} fetches {url}" for url in page.fetched if urlsplit(url).netloc]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = _file(path, parts.path, site)
            if not target.is_file():
                found.append(f"{where}: {link} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                found.append(f"{where}: {link}: there is no such anchor")
    styles = [path for path in site.rglob("*.css") if "url(http" in path.read_text(encoding="utf-8")]
    return found + [f"{path.relative_to(site)} fetches from another host" for path in styles]


def _file(page: Path, link: str, site: Path) -> Path:
    if not link:
        return page
    base = site if link.startswith("/") else page.parent
    target = (base / unquote(link).lstrip("/")).resolve()
    return target / "index.html" if target.is_dir() else target
