"""Many at once: each object is fetched once, and every record of every publisher is there."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest

import hf_localize
from hf_localize import errors
from hf_localize.format import save_to_disk
from hf_localize.format.manifest import Manifest
from hf_localize.format.refs import DatasetRef
from hf_localize.publish import public
from hf_localize.publish.bucket import upload
from hf_localize.sources.session import current_session
from hf_localize.store.commit import commit
from hf_localize.store.integrity import verify_folder
from hf_localize.store.replacing import discard_all_retired
from hf_localize.store.staging import staging_folder
from tests.conftest import Desk
from tests.faults.conftest import IS_ALL, wait_until
from tests.faults.killer import NAME, rows, save
from tests.rig.s3_proxy import BlackHole, IgnoreConditions, Request, Rule

MANY = 16
PUBLISHERS = MANY if IS_ALL else 6
LOAD = f"import hf_localize, json; d = hf_localize.load_local_dataset({NAME!r}); print(json.dumps({{k: v['text'][:] for k, v in d.items()}}))"


@contextlib.contextmanager
def processes(code: str, count: int, cwd: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.sampled(0)
def test_sixteen_processes_that_load_a_cold_dataset_fetch_each_object_once(desk: Desk) -> None:
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME)
    desk.teammate().s3.clear()
    with processes(LOAD, MANY, desk.folder) as started:
        for process in started:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            assert json.loads(out) == rows("new")
    asked = Counter(r.path for r in desk.s3.requests if ".hgloc" not in r.path)
    assert len(asked) == 13
    assert set(asked.values()) == {1}, asked


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_ends_while_it_fetches_gives_way_to_the_others(
    number: signal.Signals, desk: Desk
) -> None:
    desk.publisher()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME)
    desk.teammate().s3.clear()
    desk.s3.fail(Rule("GET", r"\.arrow$", BlackHole(), times=1))
    with processes(LOAD, 1, desk.folder) as (first,):
        wait_until(lambda: any(r.path.endswith(".arrow") for r in desk.s3.requests))
        with processes(LOAD, 1, desk.folder) as (second,):
            found = len([r for r in desk.s3.requests if "/index/" in r.path])
            wait_until(lambda: len([r for r in desk.s3.requests if "/index/" in r.path]) > found)
            time.sleep(0.5)
            assert second.poll() is None, "it did not wait for the first"
            first.send_signal(number)
            out, err = second.communicate(timeout=60)
            assert second.returncode == 0, err
            assert json.loads(out) == rows("new")
    # The lock is the system's: it went with its process. What that had fetched was not asked for again.
    asked = Counter(r.path for r in desk.s3.requests if r.path.endswith(".arrow"))
    assert sum(asked.values()) <= 6 + 16, asked


@pytest.mark.parametrize("heeds_conditions", [True, False])
@pytest.mark.parametrize("is_same", [True, False])
def test_of_many_publishers_at_once_every_record_is_there(
    is_same: bool, heeds_conditions: bool, desk: Desk
) -> None:
    desk.publisher().open_public_places()
    if not heeds_conditions:
        desk.s3.fail(Rule(None, ".", IgnoreConditions()))
    names = [NAME] * PUBLISHERS if is_same else [f"org/set{n}" for n in range(PUBLISHERS)]
    for name in dict.fromkeys(names):
        made = datasets.Dataset.from_dict({"text": [name]})
        hf_localize.register_dataset(made, name, "main", revision="v1", skip_s3_upload=True)
        if not is_same:  # In the catalog of one id too.
            hf_localize.register_dataset(made, "org/many", name.replace("/", "-"), skip_s3_upload=True)
    session = current_session()
    found = {(e.manifest.dataset_id, e.manifest.config_name): e for e in session.store.entries()}

    def publish(name: str) -> None:
        for key in ((name, "main"), ("org/many", name.replace("/", "-"))):
            if key in found:
                from hf_localize.s3.bucket import Bucket

                bucket = Bucket(session.settings)
                upload(found[key], bucket, replace=True, workers=2)
                public.make_public(found[key], bucket, session.public_files, workers=2)

    with ThreadPoolExecutor(PUBLISHERS) as pool:
        list(pool.map(publish, names))
    needed = {(*key,) for key in found}
    body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
    assert {(r["dataset_id"], r["config_name"]) for r in json.loads(body).values()} == needed
    assert {(f["dataset_id"], f["config_name"]) for f in hf_localize.list_s3_datasets()} == needed
    listed = set()
    for key in desk.bucket_keys(".hgloc/catalog/"):
        body = desk.client().get_object(Bucket=desk.bucket, Key=key)["Body"].read()
        listed |= {(v["dataset_id"], v["config_name"]) for v in json.loads(body)["entries"].values()}
    assert listed == needed
    for who in ("teammate", "outsider"):
        getattr(desk, who)()
        for dataset_id, config in sorted(needed)[:: max(1, len(needed) // 4)]:
            revision = "v1" if config == "main" else None
            loaded = hf_localize.load_local_dataset(dataset_id, config, revision)["train"]["text"][:]
            assert loaded == [dataset_id if config == "main" else config.replace("-", "/")]


def test_a_publisher_and_a_withdrawer_at_once_end_in_one_of_two_states_whole(desk: Desk) -> None:
    desk.publisher().open_public_places()
    hf_localize.register_dataset(save(desk.folder / "data", "new"), NAME, make_public=True)
    mine = desk.store
    for n in range(8):
        desk.set(HGLOC_DATASETS_STORE_PATH=str(mine))
        session = current_session()
        entry = next(e for e in session.store.entries() if e.manifest.dataset_id == NAME)

        withdraw = functools.partial(
            public.withdraw, entry.manifest.ref, session.bucket, session.public_files
        )
        publish = functools.partial(
            public.make_public, entry, session.bucket, session.public_files, workers=2
        )
        desk.s3.clear()
        ended: list[str] = []
        with ThreadPoolExecutor(2) as pool:
            actions = [withdraw, publish] if n % 2 else [publish, withdraw]
            for outcome in [pool.submit(action) for action in actions]:
                try:
                    ended.append(repr(outcome.result()))
                except errors.ConflictError as exc:
                    ended.append(str(exc))
        happened = "\n".join([*ended, *(f"{r.method} {r.path} {r.status}" for r in desk.s3.requests)])
        body = desk.client().get_object(Bucket=desk.bucket, Key="public_datasets.json")["Body"].read()
        is_shared = bool(json.loads(body))
        store = desk.folder / f"outsider-{n}"
        desk.set(HGLOC_DATASETS_STORE_PATH=str(store), HGLOC_SOURCES="public")
        if is_shared:
            loaded = hf_localize.load_local_dataset(NAME)
            assert {k: v["text"][:] for k, v in loaded.items()} == rows("new")
        else:
            with pytest.raises(errors.DatasetNotFoundError):
                hf_localize.load_local_dataset(NAME)
        assert bool([k for k in desk.bucket_keys() if k.endswith(".zip")]) == is_shared, happened
        desk.set(HGLOC_SOURCES="local,s3,public,hub")
        os.chdir(desk.folder)


@pytest.mark.parametrize("rest_seconds", [0, 0.005])
def test_readers_always_see_one_of_the_contents_that_writers_put_in_place_of_each_other(
    rest_seconds: float, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with writers that rest before each rename, so that others come between any two of their steps.

    Others put away meanwhile what made way, as each writer does when it begins.

    Readers rest too, before they look whether a folder without manifest is a saved dataset.
    """
    rename, is_saved = os.rename, save_to_disk.is_saved_dataset

    def rested(*args: object) -> None:
        time.sleep(rest_seconds)
        rename(*args)  # type: ignore[arg-type]

    def rested_reader(path: Path) -> bool:
        time.sleep(rest_seconds)
        return is_saved(path)

    desk.outsider()
    made: dict[str, tuple[Path, Manifest]] = {}
    for tag in ("old", "new"):
        hf_localize.register_dataset(save(desk.folder / tag, tag), NAME, skip_s3_upload=True)
        store = current_session().store
        (entry,) = store.entries()
        made[tag] = entry.folder, entry.manifest
        shutil.copytree(entry.folder, desk.folder / f"kept-{tag}")
    ref, ended, seen = DatasetRef(NAME), threading.Event(), Counter[str]()

    def write(number: int) -> None:
        for n in range(15):
            tag = ("old", "new")[(n + number) % 2]
            with staging_folder(store, f"writer-{number}", fresh=True) as folder:
                shutil.copytree(desk.folder / f"kept-{tag}", folder, dirs_exist_ok=True)
                commit(store, folder, made[tag][1])

    def tidy() -> None:
        while not ended.is_set():
            discard_all_retired(store)

    def read() -> None:
        while not ended.is_set():
            found = store.find(ref)
            assert found is not None
            seen[found.digest] += 1
            assert store.refs() == [ref]

    monkeypatch.setattr(os, "rename", rested)
    monkeypatch.setattr(save_to_disk, "is_saved_dataset", rested_reader)
    with ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(work) for work in (read, read, read, read, tidy, tidy)]
        for writer in [pool.submit(write, number) for number in range(4)]:
            writer.result()
        ended.set()
        for reader in readers:
            reader.result()
    assert seen.keys() <= {manifest.digest for _, manifest in made.values()}
    assert seen.total() > 20
    (entry,) = store.entries()
    verify_folder(entry.folder, entry.manifest)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("who", "config"), [("teammate", None), ("outsider", None), ("teammate", "c")])
def test_a_dataset_that_is_replaced_again_and_again_while_it_is_fetched_comes_whole(
    who: str, config: str | None, desk: Desk
) -> None:
    command = ("pull", NAME, *(("--name", config) if config else ()))
    suffix = ".arrow" if who == "teammate" else ".zip"

    def publish(value: int) -> None:
        rows = datasets.Dataset.from_dict({"v": [value] * 3})
        hf_localize.register_dataset(rows, NAME, config, make_public=True)

    getattr(desk, who)()
    reader = desk.store
    environment = dict(os.environ, HGLOC_SOURCES="local,s3" if who == "teammate" else "local,public")
    desk.publisher().open_public_places()
    publish(0)
    replacing, replaced = threading.Lock(), []

    def replace(request: Request) -> None:
        is_data = request.method == "GET" and request.path.endswith(suffix)
        if is_data and len(replaced) < 4 and replacing.acquire(blocking=False):
            replaced.append(request.path)
            publish(len(replaced))
            replacing.release()

    desk.s3.watch = replace
    ran = subprocess.run(
        [sys.executable, "-m", "hf_localize", *command], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert len(replaced) == 4
    desk.s3.watch = None
    desk.set(HGLOC_DATASETS_STORE_PATH=str(reader))
    assert hf_localize.load_local_dataset(NAME, config)["train"]["v"][:] == [4, 4, 4]
