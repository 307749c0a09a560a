"""What a load asks, touches, logs and raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import HfFileSystem

import hf_localize
from hf_localize import errors
from tests.conftest import SECRET, Desk, run_cli, run_python, tree
from tests.rig.hub import Fault, LoopbackHub, make_repository
from tests.rig.s3_proxy import BlackHole, Rule, Status, Truncate, WrongBytes

GSM8K = "openai/gsm8k"


@pytest.fixture
def stored(hub: LoopbackHub, desk: Desk) -> Desk:
    """Return a publisher's desk whose store and bucket have GSM8K (socratic), and no Hub."""
    desk.publisher()
    hf_localize.download_dataset(GSM8K, "socratic")
    hub.stop()
    hub.clear()
    desk.s3.clear()
    return desk


def test_a_local_hit_makes_no_request_at_all(stored: Desk, hub: LoopbackHub) -> None:
    with hf_localize.installed():
        assert len(datasets.load_dataset(GSM8K, "socratic", split="test")) == 1319
        assert len(list(datasets.load_dataset(GSM8K, "socratic", split="test", streaming=True))) == 1319
    assert (hub.requests, stored.s3.requests) == ([], ())


@pytest.mark.parametrize("slow_seconds", [0.0, 60.0], ids=["opened by threads", "opened in turn"])
def test_many_shards_come_in_order_on_slow_and_on_fast_file_systems(
    slow_seconds: float, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datasets.Dataset.from_dict({"number": range(300)})
    data.save_to_disk(desk.folder / "saved", num_shards=150)
    desk.publisher()
    hf_localize.register_dataset(desk.folder / "saved", "org/many", skip_s3_upload=True)
    monkeypatch.setattr("hf_localize.hf.reader._SLOW_SECONDS", slow_seconds)
    with hf_localize.installed():
        loaded = datasets.load_dataset("org/many", split="train")
        assert loaded["number"][:] == list(range(300))
        part = datasets.load_dataset("org/many", split="train[25%:75%]")
    assert part["number"][:] == list(range(75, 225))
    assert type(loaded.data) is type(datasets.load_from_disk(desk.folder / "saved").data)


def test_saved_infos_are_not_written_into_the_installed_package(stored: Desk) -> None:
    package = Path(hf_localize.__file__).parent
    (package / "README.md").unlink(missing_ok=True)
    with hf_localize.installed():
        datasets.load_dataset(GSM8K, "socratic", split="test", save_infos=True)
    assert not (package / "README.md").exists()


def test_a_local_hit_works_on_a_store_without_write_permission(stored: Desk) -> None:
    before = tree(stored.store)
    for folder, _, names in os.walk(stored.store):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.chmod(path, 0o555)
    code = (
        "import hf_localize; hf_localize.install(); from datasets import load_dataset\n"
        f"import os, sys\ntry:\n    open(os.path.join({str(stored.store)!r}, 'x'), 'w')\n"
        "except PermissionError: pass\nelse: sys.exit('the store is writable: the test proves nothing')\n"
        f"print(len(load_dataset({GSM8K!r}, 'socratic', split='test')))"
    )
    # The super-user may write everywhere unless it gives up the capability for that.
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=stored.folder)
    assert (ran.returncode, ran.stdout) == (0, "1319\n"), ran.stderr
    assert tree(stored.store) == before


def test_map_on_a_loaded_dataset_leaves_the_entry_byte_identical(stored: Desk) -> None:
    before = tree(stored.store)
    with hf_localize.installed():
        loaded = datasets.load_dataset(GSM8K, "socratic", split="test")
        mapped = loaded.map(lambda row: {"size": len(row["answer"])})
        mapped = mapped.filter(lambda row: row["size"] > 10)
    assert mapped.column_names == ["question", "answer", "size"]
    assert mapped.cache_files
    assert not [f for f in mapped.cache_files if str(stored.store) in f["filename"]]
    assert tree(stored.store) == before


def test_missing_is_an_error_that_lists_each_source(stored: Desk) -> None:
    stored.set(HGLOC_SOURCES="local,s3,public")
    with hf_localize.installed(), pytest.raises(datasets.exceptions.DatasetNotFoundError) as caught:
        datasets.load_dataset("org/nowhere")
    said = str(caught.value)
    assert type(caught.value).__name__ == "DatasetNotFoundError"
    for part in (
        "local store: not in",
        "private S3: not in",
        "public ZIP:",
        "hg-localize download org/nowhere",
    ):
        assert part in said


def _load(dataset_id: str, config: str | None = None) -> object:
    return hf_localize.load_local_dataset(dataset_id, config)


def test_denied_is_not_missing(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule(None, ".", Status(403, "InvalidAccessKeyId")))
    with pytest.raises(errors.AccessDeniedError, match="InvalidAccessKeyId") as caught:
        _load(GSM8K, "socratic")
    assert isinstance(caught.value, FileNotFoundError)
    assert not isinstance(caught.value, ConnectionError)


def test_unreachable_is_not_missing(stored: Desk) -> None:
    stored.teammate().s3.stop()
    with pytest.raises(errors.UnreachableError, match="private S3") as caught:
        _load(GSM8K, "socratic")
    assert isinstance(caught.value, ConnectionError)
    assert not isinstance(caught.value, PermissionError)


def test_corrupt_is_not_missing(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule("GET", r"data-00000", WrongBytes()))
    with pytest.raises(errors.IntegrityError, match=r"test/data-00000-of-00001\.arrow differs"):
        _load(GSM8K, "socratic")
    assert hf_localize.list_local_datasets() == []
    stored.s3.heal()
    assert len(_load(GSM8K, "socratic")["test"]) == 1319  # type: ignore[index]


def test_an_interrupted_download_leaves_nothing_visible_and_the_next_one_succeeds(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule("GET", r"data-00000", Truncate(5000)))
    with pytest.raises(errors.UnreachableError):
        _load(GSM8K, "socratic")
    assert hf_localize.list_local_datasets() == []
    stored.s3.heal()
    stored.s3.clear()
    assert len(_load(GSM8K, "socratic")["test"]) == 1319  # type: ignore[index]
    fetched = [r.path.rsplit("/", 1)[-1] for r in stored.s3.requests if "/socratic/" in r.path]
    assert fetched.count("README.md") == 0, "files that were there were fetched again"


def test_a_damaged_local_entry_is_set_aside_and_fetched_again(stored: Desk) -> None:
    (shard,) = stored.store.rglob("*.arrow")
    damaged = shard.read_bytes()[:1000]
    shard.unlink()  # Not in place: the cache of `datasets` holds a link to it.
    shard.write_bytes(damaged)
    with hf_localize.installed():
        assert len(datasets.load_dataset(GSM8K, "socratic", split="test")) == 1319
    assert shard.stat().st_size > 1000
    assert list((stored.store / ".hgloc" / "set-aside").iterdir())


def test_force_redownload_passes_over_the_local_store(stored: Desk) -> None:
    with hf_localize.installed():
        loaded = datasets.load_dataset(GSM8K, "socratic", split="test", download_mode="force_redownload")
    assert len(loaded) == 1319
    assert [r for r in stored.s3.requests if r.path.endswith(".arrow")]


def test_a_stream_from_the_bucket_that_was_damaged_ends_in_an_error(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule("GET", r"data-00000", WrongBytes()))
    with hf_localize.installed(), pytest.raises(errors.IntegrityError):
        list(datasets.load_dataset(GSM8K, "socratic", split="test", streaming=True))
    assert not stored.store.exists() or hf_localize.list_local_datasets() == []


def test_a_stream_goes_on_where_its_connection_broke(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule("GET", r"data-00000", Truncate(5_000), times=2))
    with hf_localize.installed():
        streamed = list(datasets.load_dataset(GSM8K, "socratic", split="test", streaming=True))
    assert len(streamed) == 1319


def test_a_hub_hit_gives_what_stock_gives_and_is_kept(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    stock = datasets.load_dataset(GSM8K, "socratic", split="test")
    with hf_localize.installed():
        loaded = datasets.load_dataset(GSM8K, "socratic", split="test")
        assert (loaded._fingerprint, loaded.cache_files) == (stock._fingerprint, stock.cache_files)
        hub.stop()
        hub.clear()
        again = datasets.load_dataset(GSM8K, "socratic", split="test")
    assert again.to_list() == stock.to_list()
    assert hub.requests == []


def test_streaming_from_the_hub_stores_nothing(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    with hf_localize.installed():
        assert next(iter(datasets.load_dataset(GSM8K, "socratic", split="test", streaming=True)))
    assert not desk.store.exists()


@pytest.mark.parametrize(("mode", "kept", "sent"), [("off", 0, 0), ("local", 1, 0), ("s3", 1, 1)])
def test_write_back_says_where_a_hub_hit_is_kept(
    mode: str, kept: int, sent: int, hub: LoopbackHub, desk: Desk
) -> None:
    desk.publisher().set(HGLOC_WRITE_BACK=mode)
    with hf_localize.installed():
        datasets.load_dataset(GSM8K, "socratic")
    assert len(hf_localize.list_local_datasets()) == kept
    assert len(hf_localize.list_s3_datasets()) == sent


def test_errors_that_stock_raises_from_the_hub_keep_their_type_and_first_line(
    hub: LoopbackHub, desk: Desk
) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    for arguments in (("org/nowhere",), (GSM8K, "nope"), (GSM8K,)):
        with pytest.raises(Exception) as stock:  # noqa: PT011  # Whatever stock raises is expected.
            datasets.load_dataset(*arguments)
        with hf_localize.installed(), pytest.raises(stock.type) as ours:
            datasets.load_dataset(*arguments)
        assert str(ours.value).splitlines()[0] == str(stock.value).splitlines()[0]


@pytest.mark.parametrize("arguments", [{"name": 2024}, {"name": ["main"]}, {"download_mode": 7},
                                       {"name": "socratic", "download_mode": "FORCE_REDOWNLOAD"}])  # fmt: skip
def test_wrong_arguments_raise_as_in_stock(arguments: dict[str, Any], stored: Desk, hub: LoopbackHub) -> None:
    hub.start()
    for load in (datasets.load_dataset, datasets.load_dataset_builder):
        with pytest.raises((TypeError, ValueError)) as stock:
            load(GSM8K, **arguments)
        with hf_localize.installed(), pytest.raises(stock.type):
            load(GSM8K, **arguments)


def test_offline_leaves_only_the_local_store(stored: Desk, hub: LoopbackHub) -> None:
    stored.teammate().set(HGLOC_OFFLINE="1")
    with hf_localize.installed(), pytest.raises(FileNotFoundError, match="local store"):
        datasets.load_dataset(GSM8K, "socratic")
    assert (hub.requests, stored.s3.requests) == ([], ())


def test_calls_that_ask_for_something_else_go_to_stock(stored: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "rows.csv").write_text("a\n1\n")
    with hf_localize.installed():
        assert datasets.load_dataset("csv", data_files=str(folder / "rows.csv"))["train"].to_list() == [
            {"a": 1}
        ]
        assert datasets.load_dataset(str(folder), split="all").to_list() == [{"a": 1}]
    assert stored.s3.requests == ()


def test_data_files_with_the_hub_away_says_why_the_entry_did_not_answer(hub: LoopbackHub, desk: Desk) -> None:
    desk.publisher().set(HGLOC_SOURCES="local,s3,hub")
    hf_localize.download_dataset(GSM8K, "socratic", keep_files=False)
    hub.stop()
    desk.set(HGLOC_SOURCES="local,s3")
    with (
        hf_localize.installed(),
        pytest.raises(ConnectionError, match="data_files of openai/gsm8k can't be answered"),
    ):
        datasets.load_dataset(GSM8K, data_files="main/test-00000-of-00001.parquet")


def test_library_stdout_is_empty_and_no_secret_is_logged(stored: Desk) -> None:
    stored.sit_down("canary", key=stored.server.access_key, secret=SECRET)
    code = f"""
import hf_localize, logging, pickle
logging.basicConfig(level="DEBUG")
for name in ("urllib3", "botocore", "filelock", "fsspec"):
    logging.getLogger(name).setLevel("INFO")
hf_localize.install()
from datasets import load_dataset
from hf_localize.sources.session import current_session
session = current_session()
seen = [repr(session), repr(session.bucket), str(vars(session.bucket))]
for streaming in (False, True):
    try:
        loaded = load_dataset("openai/gsm8k", "socratic", streaming=streaming)
        seen += [repr(loaded), repr(pickle.dumps(loaded["test"]))]
    except Exception as exc:
        logging.exception("failed")
        seen.append(repr(exc))
assert not [text for text in seen if {SECRET!r} in text], "a secret in a repr or a pickle"
"""
    for breaking in (None, Rule(None, ".", Status(403, "SignatureDoesNotMatch"))):
        if breaking:
            stored.s3.fail(breaking)
        ran = run_python(code, cwd=stored.folder, HGLOC_LOG_LEVEL="DEBUG", HGLOC_SOURCES="local,s3,public")
        assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
        assert "hf_localize" in ran.stderr
        assert SECRET not in ran.stderr
    ran = run_cli("download", GSM8K, "-n", "none", HGLOC_LOG_LEVEL="DEBUG", HGLOC_SOURCES="local,s3,public")
    assert (ran.returncode, ran.stdout) == (4, "")
    assert SECRET not in ran.stderr
    assert not [path for path, data in tree(stored.folder).items() if SECRET.encode() in data]


def test_a_streamed_dataset_pickles_into_another_process_without_credentials(stored: Desk) -> None:
    import pickle

    stored.teammate()
    with hf_localize.installed(sources=("local", "s3")):
        stream = datasets.load_dataset(GSM8K, "socratic", split="test", streaming=True)
        expected = next(iter(stream))
    (stored.folder / "stream.pickle").write_bytes(pickle.dumps(stream))
    code = "import pickle; print(next(iter(pickle.load(open('stream.pickle', 'rb'))))['question'])"
    ran = run_python(code, cwd=stored.folder)
    assert ran.stdout.strip() == expected["question"].strip(), ran.stderr


def test_the_error_for_a_miss_pickles(stored: Desk) -> None:
    import pickle

    stored.set(HGLOC_SOURCES="local")
    with hf_localize.installed(), pytest.raises(datasets.exceptions.DatasetNotFoundError) as caught:
        datasets.load_dataset("org/nowhere")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


@pytest.mark.sampled(0)
def test_a_load_that_stock_answers_from_its_cache_still_does(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    root = desk.folder / "repositories"
    hub.add(make_repository(root, "made/cached", "main", {"train.csv": b"a\n1\n"}))
    expected = datasets.load_dataset("made/cached")["train"].to_list()
    hub.faults = [Fault("made/cached", 503)]
    with hf_localize.installed():
        assert datasets.load_dataset("made/cached")["train"].to_list() == expected
        assert hf_localize.list_local_datasets() == []
        with pytest.raises(ConnectionError, match="a revision other than"):
            datasets.load_dataset("made/cached", revision="v2")


def test_what_was_loaded_before_never_answers_for_another_revision_or_config(stored: Desk) -> None:
    rows = datasets.Dataset.from_dict({"text": ["v1"]})
    hf_localize.register_dataset(rows, "team/corpus", revision="v1")
    with hf_localize.installed():
        assert datasets.load_dataset("team/corpus", revision="v1", split="train")["text"][:] == ["v1"]
        socratic = datasets.load_dataset(GSM8K, "socratic", split="test")
        assert len(socratic) == 1319
    files = stored.store / ".hgloc" / "repositories"
    files.rename(stored.folder / "files")
    with hf_localize.installed(sources="local"):
        HfFileSystem.clear_instance_cache()  # Stock remembers what it has asked the Hub in this process.
        for arguments, expected in (
            (("team/corpus",), datasets.exceptions.DatasetNotFoundError),
            ((GSM8K, "main"), datasets.exceptions.DatasetNotFoundError),
            ((GSM8K, "nope"), ValueError),
            ((GSM8K,), ValueError),
        ):
            with pytest.raises(expected):
                datasets.load_dataset(*arguments)
        (stored.folder / "files").rename(files)  # They have the other config.
        assert datasets.load_dataset(GSM8K, "main", split="test")[0]["answer"] != socratic[0]["answer"]


def test_a_column_may_have_any_name(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    lines = b'{"_type": "x", "feature": 1}\n{"_type": "y", "feature": 2}\n'
    hub.add(make_repository(desk.folder / "repositories", "made/names", "main", {"train.jsonl": lines}))
    with hf_localize.installed():
        first = datasets.load_dataset("made/names", split="train").to_list()
        hub.stop()
        assert datasets.load_dataset("made/names", split="train").to_list() == first


def test_an_entry_that_is_replaced_while_it_is_read_is_never_mixed(desk: Desk) -> None:
    def register(value: int) -> None:
        parts = {name: datasets.Dataset.from_dict({"v": [value] * 3}) for name in ("train", "test")}
        hf_localize.register_dataset(datasets.DatasetDict(parts), "org/x", skip_s3_upload=True)

    desk.outsider()
    register(1)
    with hf_localize.installed(sources=("local",)):
        streams = datasets.load_dataset("org/x", streaming=True)
        assert [row["v"] for row in streams["train"]] == [1, 1, 1]
        builder = datasets.load_dataset_builder("org/x")
        register(2)
        with pytest.raises(errors.IntegrityError, match="replaced"):
            list(streams["test"])
        builder.download_and_prepare()
        loaded = builder.as_dataset()
    assert {value for part in loaded.values() for value in part["v"]} == {2}


def test_a_store_that_can_not_be_written_does_not_stop_a_load(stored: Desk) -> None:
    stored.teammate().set(HGLOC_DATASETS_STORE_PATH="/proc/nowhere/store")
    with hf_localize.installed():
        assert len(datasets.load_dataset(GSM8K, "socratic", split="test")) == 1319
    with pytest.raises(errors.StoreError, match="HGLOC_DATASETS_STORE_PATH"):
        hf_localize.download_dataset(GSM8K, "socratic")


def test_ctrl_c_ends_a_load_that_waits_for_the_network(stored: Desk) -> None:
    stored.teammate().s3.fail(Rule("GET", r"data-00000", BlackHole()))
    # Whoever runs the tests in the background of a shell has them ignore Ctrl-C.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heeding}\nimport hf_localize; hf_localize.load_local_dataset('openai/gsm8k', 'socratic')"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not [r for r in stored.s3.requests if "data-00000" in r.path] and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)  # Without help it would wait for minutes.
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said


def test_a_miss_with_the_hub_away_is_an_error_that_says_so_at_once(stored: Desk) -> None:
    with hf_localize.installed(), pytest.raises(ConnectionError, match="Couldn't reach") as caught:
        datasets.load_dataset("org/nowhere")
    assert isinstance(caught.value, datasets.exceptions.DatasetNotFoundError)
    assert "local store: not in" in str(caught.value)


@pytest.mark.parametrize("ask", [datasets.load_dataset, datasets.load_dataset_builder])
def test_a_wrong_id_has_a_traceback_of_a_few_lines(ask: Callable[[str], object], stored: Desk) -> None:
    stored.set(HGLOC_SOURCES="local,s3")
    with hf_localize.installed(), pytest.raises(FileNotFoundError) as caught:
        getattr(datasets, ask.__name__)("org/nowhere")
    shown = traceback.format_exception(caught.value)
    assert "local store: not in" in shown[-1]
    assert len("".join(shown[:-1]).splitlines()) <= 8, "the call, and one frame of ours"
    stored.set(HGLOC_AWS_SECRET_ACCESS_KEY="", HGLOC_AWS_ACCESS_KEY_ID="half")
    with hf_localize.installed(), pytest.raises(errors.SettingsError) as refused:
        getattr(datasets, ask.__name__)("org/nowhere")
    shown = traceback.format_exception(refused.value)
    assert "HGLOC_AWS_SECRET_ACCESS_KEY is not set, but HGLOC_AWS_ACCESS_KEY_ID is" in shown[-1]
    assert len("".join(shown[:-1]).splitlines()) <= 8


def test_a_bucket_that_swallows_packets_is_left_within_the_time_budget(
    stored: Desk, hub: LoopbackHub
) -> None:
    stored.teammate().set(HGLOC_TIMEOUT_SECONDS="1", HGLOC_SOURCES="local,s3,hub")
    stored.s3.fail(Rule(None, ".", BlackHole()))
    hub.start()
    with hf_localize.installed():  # Without a budget it would wait for minutes.
        assert len(datasets.load_dataset(GSM8K, "socratic", split="test")) == 1319
    with pytest.raises(errors.UnreachableError, match="time budget"):
        _load("org/nowhere")


def test_a_hub_that_swallows_packets_is_left_within_the_time_budget(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub", HGLOC_TIMEOUT_SECONDS="1")
    hub.faults = [Fault(".", "stall", seconds=60)]
    with hf_localize.installed(), pytest.raises(ConnectionError, match="Couldn't reach"):
        datasets.load_dataset("org/nowhere")
    hub.stop()  # It ends the stalls.


def test_a_hub_of_several_addresses_that_swallow_packets_is_left_within_the_time_budget(desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub", HGLOC_TIMEOUT_SECONDS="2")
    code = """
import os, socket, time
server = socket.create_server(("0.0.0.0", 0), backlog=0)
port = server.getsockname()[1]
waiting = [socket.socket() for _ in range(6)]  # More than the backlog takes: the next get no answer.
for one in waiting:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", port))
resolve = socket.getaddrinfo
def addresses(host, *args, **kwargs):
    if host != "hub.example":
        return resolve(host, *args, **kwargs)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in range(1, 6)]
socket.getaddrinfo = addresses
os.environ["HF_ENDPOINT"] = f"http://hub.example:{port}"
import hf_localize, datasets
hf_localize.install()
started = time.monotonic()
try:
    datasets.load_dataset("org/nowhere")
except ConnectionError as exc:
    print("Couldn't reach" in str(exc), time.monotonic() - started < 5)
"""
    ran = run_python(code, cwd=desk.folder)
    assert ran.stdout == "True True\n", ran.stderr


def test_a_private_dataset_is_loaded_with_its_token_and_kept_as_private(hub: LoopbackHub, desk: Desk) -> None:
    desk.outsider().set(HGLOC_SOURCES="local,hub")
    hub.add(make_repository(desk.folder / "repositories", "made/secret", "main", {"train.csv": b"a\n1\n"}))
    hub.private["made/secret"] = {"hf_token"}
    with hf_localize.installed():
        with pytest.raises(datasets.exceptions.DatasetNotFoundError):
            datasets.load_dataset("made/secret")
        assert datasets.load_dataset("made/secret", token="hf_token")["train"].to_list() == [{"a": 1}]
    from hf_localize.sources.session import current_session

    (entry,) = current_session().store.entries()
    assert entry.manifest.private
    assert "hf_token" not in str(tree(desk.store))
