"""Sources that swallow packets: a resolution ends within its budget, and a local hit asks nobody."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import trustme

import hf_localize
from hf_localize import errors
from tests.conftest import Desk, run_python
from tests.faults.killer import NAME, rows, save
from tests.rig.hub import Fault, LoopbackHub
from tests.rig.s3_proxy import BlackHole, RecordingProxy, Rule

GSM8K = "openai/gsm8k"
BUDGET = 2.0
#: What is no question to a source takes time too, on a machine that does other work as well.
SLACK = 20.0


@pytest.fixture
def published(desk: Desk) -> Desk:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME, make_public=True)
    desk.set(HGLOC_TIMEOUT_SECONDS=str(BUDGET))
    return desk


@pytest.mark.parametrize("sources", ["s3", "public", "s3,public"])
def test_a_resolution_ends_within_its_budget_where_a_source_swallows_packets(
    sources: str, published: Desk
) -> None:
    (published.teammate() if "s3" in sources else published.outsider()).set(HGLOC_SOURCES=sources)
    published.s3.fail(Rule(None, ".", BlackHole()))
    begun = time.monotonic()
    with pytest.raises(errors.DatasetUnreachableError, match="time"):
        hf_localize.load_local_dataset(NAME)
    assert time.monotonic() - begun < BUDGET + SLACK


def test_a_bucket_that_swallows_packets_leaves_the_public_zip(published: Desk) -> None:
    published.teammate().set(HGLOC_SOURCES="s3,public", HGLOC_TIMEOUT_SECONDS="10")
    published.s3.fail(Rule("GET", r"\.hgloc/", BlackHole()))
    loaded = hf_localize.load_local_dataset(NAME)
    assert {name: split["text"][:] for name, split in loaded.items()} == rows("new")


def test_a_hub_that_swallows_packets_is_given_up(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_TIMEOUT_SECONDS=str(BUDGET), HGLOC_SOURCES="local,hub")
    hub.faults = [Fault(".", "stall", seconds=600)]
    begun = time.monotonic()
    with pytest.raises(errors.DatasetUnreachableError, match="Hub"):
        hf_localize.download_dataset("openai/gsm8k", "main")
    assert time.monotonic() - begun < BUDGET + SLACK
    hub.stop()


@pytest.mark.parametrize("hole", ["s3", "hub"])
def test_a_local_hit_asks_nobody_whoever_swallows_packets(
    hole: str, hub: LoopbackHub, published: Desk
) -> None:
    published.teammate()
    hf_localize.load_local_dataset(NAME)
    published.s3.fail(Rule(None, ".", BlackHole()))
    hub.faults = [Fault(".", "stall", seconds=600)]
    published.s3.clear()
    hub.clear()
    loaded = hf_localize.load_local_dataset(NAME)
    assert {name: split["text"][:] for name, split in loaded.items()} == rows("new")
    with hf_localize.installed():
        from datasets import load_dataset

        assert load_dataset(NAME)["train"]["text"][:] == rows("new")["train"]
    assert published.s3.requests == ()
    assert hub.requests == []
    hub.stop()


@pytest.mark.parametrize("held_data", [r".", r"/blobs/"], ids=["nothing answers", "only metadata comes"])
def test_doors_end_in_time_where_bucket_and_public_files_swallow_packets(
    held_data: str, hub: LoopbackHub, desk: Desk, tmp_path: Path
) -> None:
    """Both places share one limit. A place that sends no data is asked for it twice, then not for a while."""
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "main", make_public=True)
    desk.teammate().set(HGLOC_TIMEOUT_SECONDS=str(BUDGET))
    desk.s3.fail(Rule(None, held_data, BlackHole()))
    limit = BUDGET + 1 if held_data == "." else 4 * BUDGET + 6
    for is_up in (True, False):
        if not is_up:
            time.sleep(2 * BUDGET)  # For so long, a place that did not answer is not asked again.
            hub.stop()
        with hf_localize.installed():
            begun = time.monotonic()
            try:
                path = huggingface_hub.hf_hub_download(
                    GSM8K, "README.md", repo_type="dataset", cache_dir=tmp_path / f"{is_up}"
                )
                assert is_up
                assert Path(path).read_bytes()
            except (OSError, huggingface_hub.errors.LocalEntryNotFoundError):
                assert not is_up
            assert time.monotonic() - begun < limit


@pytest.mark.parametrize("is_up", [True, False], ids=["Hub up", "Hub down"])
def test_a_range_read_ends_in_time_where_bucket_and_public_files_send_no_data(
    is_up: bool, hub: LoopbackHub, desk: Desk
) -> None:
    """As for `hf_hub_download`: each place is asked for data twice, then not for a while."""
    desk.publisher().open_public_places()
    hf_localize.download_dataset(GSM8K, "main", make_public=True)
    desk.teammate().set(HGLOC_TIMEOUT_SECONDS=str(BUDGET))
    desk.s3.fail(Rule(None, r"/blobs/", BlackHole()))
    if not is_up:
        hub.stop()
    with hf_localize.installed():
        begun = time.monotonic()
        files = huggingface_hub.HfFileSystem(skip_instance_cache=True)
        try:
            with files.open(f"datasets/{GSM8K}/README.md", "rb") as file:
                data = file.read(8)
            assert is_up
            assert len(data) == 8
        except OSError:
            assert not is_up
        assert time.monotonic() - begun < 4 * BUDGET + 6


@pytest.fixture
def secure(published: Desk, tmp_path: Path) -> Iterator[tuple[RecordingProxy, Path]]:
    """Return a proxy that speaks TLS with a certificate of a CA of its own, and that CA's file."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    with RecordingProxy(published.server.endpoint_url, tls=context) as proxy:
        yield proxy, bundle


@pytest.mark.parametrize("who", ["teammate", "outsider"])
def test_an_unknown_certificate_authority_is_named_and_a_known_one_taken(
    who: str, secure: tuple[RecordingProxy, Path], published: Desk
) -> None:
    proxy, bundle = secure
    source = "s3" if who == "teammate" else "public"
    getattr(published, who)().set(
        HGLOC_SOURCES=source, HGLOC_S3_ENDPOINT_URL=proxy.url, HGLOC_TIMEOUT_SECONDS="20"
    )
    with pytest.raises(errors.DatasetUnreachableError, match=r"(?s)certificate.*AWS_CA_BUNDLE"):
        hf_localize.load_local_dataset(NAME)
    assert proxy.requests == ()
    code = f"import hf_localize; print(len(hf_localize.load_local_dataset({NAME!r})['train']))"
    ran = run_python(code, cwd=published.folder, AWS_CA_BUNDLE=str(bundle))
    assert ran.stdout.strip() == str(len(rows("new")["train"])), ran.stderr


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_can_not_be_read_are_named_and_the_next_source_is_asked(
    content: str | None, secure: tuple[RecordingProxy, Path], published: Desk, tmp_path: Path
) -> None:
    proxy, _ = secure
    bundle = tmp_path / "bad.pem"
    if content is not None:
        bundle.write_text(content)
    at_proxy = {"HGLOC_S3_ENDPOINT_URL": proxy.url, "AWS_CA_BUNDLE": str(bundle)}
    for source in ("s3", "public"):
        published.teammate().set(HGLOC_SOURCES=source, **at_proxy)
        with pytest.raises(errors.DatasetUnreachableError, match=rf"(?s){bundle}.*AWS_CA_BUNDLE"):
            hf_localize.load_local_dataset(NAME)
    with pytest.raises(errors.RefusedError, match=str(bundle)):
        hf_localize.list_s3_datasets()
    public_url = f"{published.s3.url}/{published.bucket}"
    published.set(HGLOC_SOURCES="s3,public", HGLOC_PUBLIC_URL=public_url)
    assert len(hf_localize.load_local_dataset(NAME)["train"]) == len(rows("new")["train"])
