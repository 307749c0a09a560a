"""What a catalog tells, what it keeps to itself, and what of a dataset's content gets into it as markup."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import posixpath
import re
import shutil
import wave
from pathlib import Path
from urllib.parse import unquote, urlsplit

import datasets
import pytest
import requests
from PIL import Image

import hf_localize
from hf_localize import errors
from hf_localize.catalog.showing import Shower
from hf_localize.format.refs import DatasetRef
from tests.commands.catalog.shelves import (
    EVIL,
    TAGS,
    Page,
    register_evil,
    register_pictures,
    register_sounds,
    sound,
)
from tests.commands.json_docs import assert_documented
from tests.conftest import Desk, run_cli, run_python, tree
from tests.rig.hub import LoopbackHub, make_repository

GSM8K = "openai/gsm8k"


def pages_in(folder: Path) -> dict[str, Page]:
    return {path: Page(data.decode()) for path, data in tree(folder).items()}


def check(pages: dict[str, Page], *secrets: str) -> None:
    """Check what must be so of each page of every catalog."""
    for path, page in pages.items():
        policy = page.metas["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert not re.search(r"https?:|'self'|unsafe|\*", policy)
        for allowed, (text,) in (("style-src", page.styles), ("script-src", page.scripts)):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{allowed} 'sha256-{digest}'" in policy
        assert page.tags <= TAGS, page.tags - TAGS
        assert page.handlers == []
        assert len(page.ids) == len(set(page.ids))
        for where, target in page.links:
            url = urlsplit(target)
            if where in ("img src", "audio src", "link href"):
                assert url.scheme == "data", (path, where, target)
            elif url.path.endswith(".zip"):
                assert "/public_datasets_zip/" in url.path, (path, target)
            elif url.scheme:
                assert (where, url.scheme) in {("a href", "https"), ("a href", "mailto")}, (path, target)
            else:
                beside = posixpath.dirname(path)
                place = posixpath.normpath(posixpath.join(beside, unquote(url.path))) if url.path else path
                other = pages[place]
                assert not url.fragment or url.fragment in other.ids, (path, target)
        for secret in (*secrets, "X-Amz", "Signature=", "AWSAccessKeyId"):
            assert secret not in page.text, (path, secret)


@pytest.fixture
def shop(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a publisher's desk with a bucket of some datasets, of which two are public."""
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "main", make_public=True)
    hf_localize.download_dataset(GSM8K, "socratic")
    register_pictures(desk.folder, make_public=True)
    register_sounds(desk.folder)
    register_evil(desk.folder / "evil")
    return desk


def test_a_catalog_tells_what_the_bucket_has_and_no_secret(shop: Desk) -> None:
    shop.publisher()
    made = hf_localize.write_catalog("catalog", contact="data@example.com")
    assert (made.datasets, made.is_public, made.unread) == (4, False, ())
    pages = pages_in(Path("catalog"))
    server = shop.server
    check(pages, server.secret_key, server.reader_secret_key or server.secret_key, server.access_key)
    first = pages["index.html"]
    assert made.place == str(Path("catalog/index.html"))
    shown = "".join(first.shown)
    for told in (GSM8K, "team/shapes", "team/tones", "4 datasets", "mit", "images", "audio", "10,111 rows"):
        assert told in shown, told
    page = pages["datasets/openai--gsm8k--main.html"]
    shown = "".join(page.shown)
    commit = _commit(GSM8K)
    rows = datasets.load_dataset(GSM8K, "main", split="train[:5]")
    for told in (
        *(
            rows["question"][0],
            rows["answer"][4][:300],
            "7,473",
            "84.7 %",
            "4.7 MB",
            "mit",
            commit,
            "string",
            "socratic",
        ),
        "import hf_localize; hf_localize.install()\nfrom datasets import load_dataset\n",
        'dataset = load_dataset("openai/gsm8k", "main")',
        f"export HGLOC_S3_BUCKET_NAME={shop.bucket}\nexport HGLOC_S3_ENDPOINT_URL={shop.s3.url}",
        "Everybody may load this, without an account.",
        "data@example.com",
        "Built from github openai/grade-school-math",
    ):
        assert told in shown, told
    assert ("a href", "openai--gsm8k--socratic.html") in page.links
    shapes, tones = pages["datasets/team--shapes--default.html"], pages["datasets/team--tones--default.html"]
    pictures = [target for where, target in shapes.links if where == "img src"]
    assert len(pictures) == 7
    assert all(target.startswith("data:image/png;base64,") for target in pictures)
    assert {"golden", "class label, 4 names"} <= set(shapes.shown)
    sounds = [target for where, target in tones.links if where == "audio src"]
    assert len(sounds) == 3
    assert base64.b64decode(sounds[0].partition(",")[2])[:4] == b"RIFF"
    assert {"audio, 8 kHz", "list of string", '["E4", "fifth"]'} <= set(tones.shown)


def _commit(dataset_id: str) -> str:
    from hf_localize.sources.bucket import find_indexed
    from hf_localize.sources.session import current_session

    entry = find_indexed(current_session().bucket, DatasetRef(dataset_id, "main"), 1)
    assert entry
    assert entry.manifest.commit
    return entry.manifest.commit


def test_a_public_dataset_has_a_link_to_its_zip(shop: Desk) -> None:
    hf_localize.write_catalog("catalog")
    pages = pages_in(Path("catalog"))
    (zip_url,) = (
        target for _, target in pages["datasets/team--shapes--default.html"].links if ".zip" in target
    )
    got = requests.get(zip_url, timeout=10)
    assert (got.status_code, got.content[:2]) == (200, b"PK")
    assert not [target for _, target in pages["datasets/team--tones--default.html"].links if ".zip" in target]
    shop.outsider()
    hf_localize.write_catalog("public")
    assert ("a href", zip_url) in pages_in(Path("public"))["datasets/team--shapes--default.html"].links


def test_models_spaces_and_files_are_in_the_catalog_of_a_bucket(
    hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    card = b"---\nlicense: mit\n---\n# What it is\n\nWeights that tell one thing from another, quickly."
    for key in ("", "models/", "spaces/"):
        hub.add(
            make_repository(tmp_path / "hub", f"{key}team/one", "main", {"README.md": card, "a.bin": b"a"})
        )
    hub.refresh()
    desk.publisher().open_public_places()
    register_sounds(desk.folder, "team/one")
    for kind in ("dataset", "model", "space"):
        hf_localize.download_repository("team/one", repo_type=kind, make_public=kind == "model")
    made = hf_localize.write_catalog("catalog")
    assert (made.datasets, made.pages, made.unread) == (1, 4, ())
    pages = pages_in(Path("catalog"))
    check(pages)
    assert "1 dataset, 1 model, 1 Space" in "".join(pages["index.html"].shown)
    commit = hub.commit("models/team/one")
    page = pages[f"datasets/team--one--model--{commit}.html"]
    told = "".join(page.shown)
    assert 'path = snapshot_download("team/one")' in told
    assert {
        "mit",
        "a.bin",
        "Everybody may load this, without an account. Install hf_localize (",
    } <= set(page.shown)
    assert "Weights that tell one thing from another, quickly." in told
    space = next(page for path, page in pages.items() if "--space--" in path)
    assert 'snapshot_download("team/one", repo_type="space")' in "".join(space.shown)
    blobs = [key for key in desk.bucket_keys(".hgloc/repositories/model/") if commit in key]
    desk.client().put_object(Bucket=desk.bucket, Key=blobs[0], Body=b"{")
    assert [str(ref) for ref in hf_localize.write_catalog("catalog").unread] == [f"team/one [model]@{commit}"]


def test_rows_that_are_missing_say_why(desk: Desk) -> None:
    desk.publisher()
    noise = [os.urandom(3 << 20), os.urandom(3 << 20), os.urandom(3 << 20)]
    rows = datasets.Dataset.from_dict({"blob": noise})
    hf_localize.register_dataset(datasets.DatasetDict(dict.fromkeys("abcde", rows)), "org/big")
    hf_localize.write_catalog("catalog")
    told = "".join(pages_in(Path("catalog"))["datasets/org--big--default.html"].shown)
    assert "of 3 rows: the next row is too large to be shown here." in told
    assert "And 2 splits more." in told


def test_without_its_packages_the_catalog_says_what_to_install(desk: Desk) -> None:
    desk.publisher()
    code = (
        "import sys; sys.modules['nh3'] = None\n"
        "from hf_localize import *\nfrom hf_localize.cli import main\nmain(['catalog', '--output', 'catalog'])"
    )
    ran = run_python(code, cwd=Path.cwd())
    assert (ran.returncode, "pip install 'hf-localize[catalog]'" in ran.stderr) == (2, True), ran.stderr
    assert not Path("catalog").exists()


def test_nothing_of_a_dataset_is_taken_for_markup(desk: Desk) -> None:
    desk.publisher()
    register_evil(desk.folder / "evil")
    made = hf_localize.write_catalog("catalog", title=EVIL, contact=EVIL)
    pages = pages_in(Path("catalog"))
    check(pages)  # Of elements, handlers, links and scripts there are those of every catalog, and no others.
    (page,) = (page for path, page in pages.items() if path.startswith("datasets/"))
    assert made.unread == ()
    assert page.shown.count(EVIL) >= 5  # Title, contact, column, class label, value: as text.
    assert ("a href", "https://good.example/page") in page.links
    assert not any("evil.example" in target for _, target in page.links)
    assert "[picture: badge]" in "".join(page.shown)


def test_an_outsider_sees_what_is_public_and_nothing_else(shop: Desk) -> None:
    shop.outsider()
    made = hf_localize.write_catalog("catalog")
    assert (made.datasets, made.is_public) == (2, True)
    pages = pages_in(Path("catalog"))
    check(pages)
    assert set(pages) == {
        "index.html",
        "datasets/openai--gsm8k--main.html",
        "datasets/team--shapes--default.html",
    }
    for private in ("team/tones", "team/evil", "gsm8k--socratic"):
        assert [path for path, page in pages.items() if private in page.text] == []
    assert "HGLOC_AWS" not in pages["index.html"].text
    shop.publisher()
    hf_localize.write_catalog("by-publisher", public=True)
    assert tree(Path("by-publisher")) == tree(Path("catalog"))


def test_a_published_catalog_is_as_public_as_what_it_tells_of(shop: Desk) -> None:
    before = hf_localize.list_s3_datasets()
    ran = run_cli("catalog", "--publish", "--public")
    assert ran.returncode == 0, ran.stderr
    (url,) = ran.stdout.splitlines()
    got = requests.get(url, timeout=10)
    assert (got.status_code, got.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "team/shapes" in got.text
    assert "team/tones" not in got.text
    page = requests.get(url.replace("index.html", "datasets/team--shapes--default.html"), timeout=10)
    assert page.status_code == 200
    made = hf_localize.publish_catalog(rows=0)
    assert made.place == f"s3://{shop.bucket}/.hgloc/site/index.html"
    private = shop.bucket_keys(".hgloc/site/")
    assert len(private) == 7, private  # Two of the site, of each dataset, and of the files of GSM8K.
    if shop.server.enforces_auth:
        assert requests.get(f"{shop.s3.url}/{shop.bucket}/{private[0]}", timeout=10).status_code == 403
    body = shop.client().get_object(Bucket=shop.bucket, Key=".hgloc/site/datasets/team--tones--default.html")
    text = body["Body"].read().decode()
    assert "data:audio" not in text
    assert shop.server.secret_key not in text
    assert hf_localize.list_s3_datasets() == before
    hf_localize.withdraw_dataset("team/shapes")
    hf_localize.publish_catalog(public=True)
    assert requests.get(page.url, timeout=10).status_code in (403, 404)
    assert "team/shapes" not in requests.get(url, timeout=10).text


def test_a_catalog_is_written_over_a_catalog_only(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/x")
    hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [1]}), "org/y")
    hf_localize.write_catalog("catalog")
    Path("catalog/datasets/." + "0" * 32 + ".part").write_text("cut off")
    hf_localize.remove_dataset("org/y", s3=True)
    hf_localize.write_catalog("catalog")
    assert set(tree(Path("catalog"))) == {"index.html", "datasets/org--x--default.html"}
    for name in ("catalog/index.html", "catalog/notes.txt", "catalog/datasets/org--x--default.html"):
        shutil.copytree("catalog", "other")
        (Path("other") / Path(name).relative_to("catalog")).write_text("<html>mine</html>")
        before = tree(Path("other"))
        with pytest.raises(errors.ConflictError, match="files that are not from a catalog"):
            hf_localize.write_catalog("other")
        assert tree(Path("other")) == before
        shutil.rmtree("other")
    ran = run_cli("catalog")
    assert (ran.returncode, "--output DIR or --publish" in ran.stderr) == (2, True)
    ran = run_cli("catalog", "--output", "catalog", "--json")
    assert ran.returncode == 0, ran.stderr
    assert assert_documented("catalog", ran.stdout)["pages"] == 1


def test_a_dataset_that_cannot_be_read_has_a_page_that_says_why(desk: Desk) -> None:
    desk.publisher()
    for name in ("org/x", "org/y", "org/z"):
        hf_localize.register_dataset(datasets.Dataset.from_dict({"a": [name]}), name)
    (mark,) = desk.bucket_keys(".hgloc/index/org%2Fx")
    desk.client().put_object(Bucket=desk.bucket, Key=mark, Body=b"{")
    (shard,) = (key for key in desk.bucket_keys("org_y/") if key.endswith(".arrow"))
    desk.client().put_object(Bucket=desk.bucket, Key=shard, Body=b"\xff" * 400)
    ran = run_cli("catalog", "--output", "catalog", "--json")
    assert (ran.returncode, "could not be read; their pages say why: org/x" in ran.stderr) == (1, True)
    told = assert_documented("catalog", ran.stdout)
    assert (told["datasets"], [ref["dataset_id"] for ref in told["unread"]]) == (3, ["org/x"])
    pages = pages_in(Path("catalog"))
    check(pages)
    assert "can't be read" in pages["datasets/org--x--default.html"].text.replace("&#39;", "'")
    assert "rows can't be read" in pages["datasets/org--y--default.html"].text.replace("&#39;", "'")
    assert "org/z" in pages["datasets/org--z--default.html"].shown


def test_the_first_rows_of_a_large_batch_take_few_bytes_of_it(desk: Desk) -> None:
    desk.publisher()
    noise = [bytes([n]) * 200_000 for n in range(100)]
    hf_localize.register_dataset(
        datasets.Dataset.from_dict({"n": list(range(100)), "blob": noise}), "org/big"
    )
    desk.publisher().s3.clear()
    hf_localize.write_catalog("catalog", rows=3)
    (page,) = (page for path, page in pages_in(Path("catalog")).items() if path.startswith("datasets/"))
    assert {"0", "1", "2", "(200,000 bytes)"} <= set(page.shown)
    read = sum(r.response_bytes for r in desk.s3.requests if r.path.endswith(".arrow"))
    assert 600_000 < read < 1_500_000


def test_images_are_made_small_sounds_cut_and_other_files_named() -> None:
    def shown(data: bytes | None, kind: str) -> str:
        return Shower(1 << 20).cell({"bytes": data, "path": "/home/me/x.y"}, {"_type": kind}, "row <1>")

    def decoded(cell: str) -> bytes:
        return base64.b64decode(Page(cell).links[0][1].partition(",")[2])

    noise = Image.effect_noise((1600, 900), 90)
    for mode, suffix in (("RGB", "JPEG"), ("L", "PNG"), ("CMYK", "TIFF"), ("RGBA", "PNG")):
        made = io.BytesIO()
        noise.convert(mode).save(made, suffix)
        small = Image.open(io.BytesIO(decoded(shown(made.getvalue(), "Image"))))
        assert (small.size, small.format) == ((320, 180), "PNG" if mode == "RGBA" else "JPEG")
    whole = sound(440.0, 60)
    assert len(whole) > 900_000
    with wave.open(io.BytesIO(decoded(shown(whole, "Audio")))) as part:
        assert part.getnframes() == (384 << 10) // 2
    assert "row &lt;1&gt;" in shown(whole, "Audio")
    for data in (
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<html>",
        whole[:30] + whole,
        b"",
    ):
        assert Page(shown(data, "Image")).links == []
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
    with pytest.warns(Image.DecompressionBombWarning):
        assert Page(shown(bomb.getvalue(), "Image")).links == []
    assert shown(None, "Image") == '<span class="none">image x.y</span>'
    assert "60 bytes" in shown(b"x" * 60, "Audio")
    assert Page(Shower(10).cell({"bytes": whole, "path": None}, {"_type": "Audio"}, "")).links == []
    nested = {"_type": "Sequence", "feature": {"picture": {"_type": "Image"}}}
    assert "picture" in Shower(10).cell({"picture": [{"bytes": b"x", "path": "a"}]}, nested, "")
