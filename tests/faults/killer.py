"""Kill a command at each of its steps, and look at what is left.

A step is a request that arrives at a server, or a change on the disk below the store. The first run
of a command counts them; then the command is killed at each, from the same start. After each kill:

- nobody, here or elsewhere, sees anything but the former content or the new, whole;
- what the command does not name is as it was;
- the same command, run again, succeeds, and moves only what was missing;
- what it leaves behind is gone when it is a day old and somebody runs a command.

A command is added as a `Scenario`.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import huggingface_hub

import hf_localize
from hf_localize import errors
from hf_localize.api.stored_repositories import remove_repository
from hf_localize.format.files import hash_file
from hf_localize.format.refs import DatasetRef
from hf_localize.sources.session import current_session
from hf_localize.store.integrity import verify_folder
from tests.conftest import Desk
from tests.faults.runner import Ran, Runner
from tests.rig.hub import LoopbackHub
from tests.rig.s3_proxy import Request

NAME, OTHER = "org/x", "org/other"
#: A repository of the Hub, besides the one that a scenario is about.
LATER = "hub/later"
SPLITS = ("train", "validation", "test")
TWO_DAYS = 2 * 24 * 3600
Kind = Literal["requests", "changes"]
Rows = dict[str, list[Any]]
Place = Literal["local", "s3", "public"]


def rows(tag: str) -> Rows:
    """Return the rows of each split; those of *test* are the same under every tag."""
    return {
        split: [f"{'all' if split == 'test' else tag} {split} {n} {'x' * 20}" for n in range(30)]
        for split in SPLITS
    }


def save(folder: Path, tag: str, shards: int = 2) -> Path:
    """Write a dataset of three splits, each of *shards* shards, into *folder*."""
    made = {name: datasets.Dataset.from_dict({"text": texts}) for name, texts in rows(tag).items()}
    datasets.DatasetDict(made).save_to_disk(str(folder), num_shards=dict.fromkeys(SPLITS, shards))
    return folder


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, where it begins, and who may see what of it.

    Args:
        name: of the test.
        actor: who runs it: ``publisher``, ``teammate`` or ``outsider``.
        arguments: of ``hg-localize``; ``{folder}`` is the folder of the test.
        prepare: makes what is there before, sitting at the publisher's desk.
        before: what a reader of each place gets before the command; None: there is no such dataset.
        after: and after it.
        kinds: the kinds of steps that it has.
        stride: one of so many steps is tried, where they are long.
        again: how the command may end when it is run again: 3 where nothing is left to remove.
        is_old: nobody has used what is in the store for two days whenever the command begins.
    """

    name: str
    actor: str
    arguments: tuple[str, ...]
    prepare: Callable[[Desk, LoopbackHub], None]
    before: Mapping[Place, Rows | None]
    after: Mapping[Place, Rows | None]
    kinds: tuple[Kind, ...] = ("requests",)
    dataset_id: str = NAME
    stride: int = 1
    again: tuple[int, ...] = (0,)
    is_old: bool = False


class World:
    """One scenario at its start, again and again."""

    def __init__(self, scenario: Scenario, desk: Desk, runner: Runner, hub: LoopbackHub) -> None:
        self.scenario = scenario
        self.desk = desk
        self._runner = runner
        self._hub = hub
        desk.publisher().open_public_places()
        hf_localize.register_dataset(save(desk.folder / "other", "other"), OTHER, make_public=True)
        scenario.prepare(desk, hub)
        if scenario.actor != "publisher":
            getattr(desk, scenario.actor)()
            hf_localize.load_local_dataset(OTHER)
        desk.set(HGLOC_MAX_CONCURRENCY="2")
        self._actor = {
            name: os.environ.get(name) for name in ("HGLOC_AWS_ACCESS_KEY_ID", "HGLOC_AWS_SECRET_ACCESS_KEY")
        }
        self.store = desk.store
        self._client = desk.client()
        self._objects = {key: self._object(key) for key in self._etags()}
        self._start_etags = self._etags()
        self._start = desk.folder / "start"
        shutil.copytree(self.store, self._start, symlinks=True)
        self._cache = 0
        self._counted = self.run()
        assert self._counted.status == 0, self._counted.output
        self._check_views(self.scenario.after)
        #: Where an uninterrupted run ends.
        self._end_etags = self._etags()

    # --- the command

    def run(
        self,
        *,
        at_change: int | None = None,
        at_request: int | None = None,
        signal_number: int = signal.SIGKILL,
    ) -> Ran:
        """Sit down at the actor's machine and run the command; end it at a step, counted from 1."""
        self._sit()
        if self.scenario.is_old:
            self._age(self.store)
        self.desk.s3.clear()
        self._hub.clear()
        count = Counter[str]()

        def watch(_request: object) -> None:
            count["requests"] += 1
            if count["requests"] == at_request:
                self._runner.end(signal_number)

        self.desk.s3.watch = watch
        self._hub.faults = watch
        try:
            return self._runner.run(
                *(argument.format(folder=self.desk.folder) for argument in self.scenario.arguments),
                cwd=self.desk.folder / "work",
                watched=self.store,
                at_change=at_change,
                signal_number=signal_number,
            )
        finally:
            self.desk.s3.watch = None
            self._hub.faults = []

    def steps(self, kind: Kind) -> int:
        """Return how many steps of a *kind* the command takes when nobody interrupts it."""
        if kind == "changes":
            return len(self._counted.changes)
        self.reset()
        self.run()
        return len(self.desk.s3.requests) + len(self._hub.requests)

    def reset(self) -> None:
        """Bring store and bucket back to the start."""
        shutil.rmtree(self.store)
        shutil.copytree(self._start, self.store, symlinks=True)
        shutil.rmtree(self.desk.folder / "work", ignore_errors=True)
        (self.desk.folder / "work").mkdir()
        os.chdir(self.desk.folder / "work")
        self._sit(fresh=True)
        for folder in self._downloads():
            shutil.rmtree(folder)
        bucket, there = self.desk.bucket, self._etags()
        for upload in self._uploads():
            self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        for key in there.keys() - self._objects.keys():
            self._client.delete_object(Bucket=bucket, Key=key)
        for key, value in self._objects.items():
            if there.get(key) != self._start_etags[key]:
                self._client.put_object(Bucket=bucket, Key=key, **value)

    def _sit(self, *, fresh: bool = False) -> None:
        """Be the actor; *fresh*: with an empty cache of `datasets`."""
        self._cache += fresh
        self.desk.store = self.store
        self.desk.set(HGLOC_DATASETS_STORE_PATH=str(self.store), HGLOC_SOURCES="local,s3,public,hub")
        for name, value in self._actor.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                self.desk.set(**{name: value})
        self.desk.use_cache(str(self.desk.folder / f"cache-{self._cache}"))

    def _downloads(self) -> list[Path]:
        """Return where `huggingface_hub` keeps what it has downloaded of the dataset."""
        cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
        return list(cache.glob(f"datasets--{self.scenario.dataset_id.replace('/', '--')}"))

    def _object(self, key: str) -> dict[str, Any]:
        """Return what puts the object there again."""
        got = self._client.get_object(Bucket=self.desk.bucket, Key=key)
        found = {"Body": got["Body"].read(), "Metadata": got["Metadata"]}
        if self.desk.server.supports_acl and key.startswith("public_datasets"):
            found["ACL"] = "public-read"
        return found

    def _etags(self) -> dict[str, str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.desk.bucket)
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}

    def _uploads(self) -> list[Any]:
        """Return the uploads in parts that were begun and not ended."""
        return list(self._client.list_multipart_uploads(Bucket=self.desk.bucket).get("Uploads", []))

    # --- what must hold

    def check_kill(self, kind: Kind, step: int, *, signal_number: int = signal.SIGKILL) -> bool:
        """Kill the command at a step, and look. False: it had ended before that step."""
        self.reset()
        where: dict[str, int] = {"at_change" if kind == "changes" else "at_request": step}
        ran = self.run(**where, signal_number=signal_number)
        what = f"{self.scenario.name}: {kind} {step}: {ran.changes[-1:] if kind == 'changes' else ''}"
        logging.getLogger(__name__).info(what)
        self._check_views(self.scenario.before, self.scenario.after)
        is_aged = step % 3 == 0
        if is_aged:
            self._let_days_pass()
            self._check_no_litter()
            self._check_views(self.scenario.before, self.scenario.after)
        whole = self._whole()
        again = self.run()
        assert again.status in self.scenario.again, f"{what}: run again it failed:\n{again.output}"
        moved = sorted(set(self._moved()) & whole)
        assert not moved, f"{what}: moved again though it was whole: {moved}"
        self._check_views(self.scenario.after)
        self._let_days_pass()
        self._check_no_litter()
        if self._etags().keys() != self._end_etags.keys():  # For a day somebody may go on with it.
            self.desk.s3.ahead_seconds = TWO_DAYS
            assert self.run().status in self.scenario.again
            self.desk.s3.ahead_seconds = 0
        there = self._etags().keys()
        assert there == self._end_etags.keys(), f"{what}: in the bucket: {there ^ self._end_etags.keys()}"
        assert not self._uploads(), f"{what}: parts left in the bucket: {self._uploads()}"
        if signal_number == signal.SIGKILL:
            return ran.was_killed
        return ran.status != 0

    def _check_views(self, *expected: Mapping[Place, Rows | None]) -> None:
        """Check that each place gives one of the *expected* contents, whole."""
        self._sit()
        for place, tell in (("local", "local"), ("s3", "teammate"), ("public", "outsider")):
            allowed = [one[place] for one in expected if place in one]  # type: ignore[index]
            if not allowed:
                continue
            if place != "local":
                getattr(self.desk, tell)()
            self.desk.set(HGLOC_SOURCES=place)
            self.desk.use_cache(str(self.desk.folder / "views" / os.urandom(4).hex()))
            seen = self._load(self.scenario.dataset_id)
            assert seen in allowed, f"{place}: {_brief(seen)}, not one of {list(map(_brief, allowed))}"
            assert self._load(OTHER) == rows("other"), place
            self._check_store()
            listed = {found["dataset_id"] for found in hf_localize.list_local_datasets()}
            assert (self.scenario.dataset_id in listed) == (seen is not None), (place, listed)
            shutil.rmtree(self.desk.folder / "views")
            if place != "local":
                shutil.rmtree(self.desk.store)
            self._sit()

    def _load(self, dataset_id: str) -> Rows | None:
        try:
            loaded = hf_localize.load_local_dataset(dataset_id)
        except (errors.DatasetUnreachableError, errors.DatasetDeniedError, errors.DatasetCorruptError):
            raise
        except errors.DatasetNotFoundError:
            return None
        return {name: split["text"][:] for name, split in loaded.items()}

    def _check_store(self) -> None:
        store = current_session().store
        for place in store.places.all():
            entry = store.open_place(place)
            assert entry is None or not entry.has_manifest or entry.is_partial or not _verify(entry)

    # --- what need not be moved again

    def _whole(self) -> set[str]:
        """Return what is whole already at the end of the way: keys in the bucket, paths in the store."""
        if self.scenario.actor == "publisher":
            there = self._etags()
            return {key for key, etag in there.items() if etag == self._end_etags.get(key)}
        if self.scenario.dataset_id != NAME:
            return {path.name for folder in self._downloads() for path in folder.glob("snapshots/*/data/*")}
        entry = self._remote
        folders = [
            *(self.store / ".hgloc" / "staging").glob(f"{entry.digest}.*"),
            self.store / entry.manifest.ref.folders[0],
        ]
        return {
            record.path
            for folder in folders
            for record in entry.manifest.files
            if (folder / record.path).exists() and hash_file(folder / record.path, record.path) == record
        }

    @functools.cached_property
    def _remote(self) -> Any:
        """Return the entry as the actor's source has it."""
        self._sit()
        resolver = current_session().resolver(only=("s3", "public"))
        return resolver.find(DatasetRef(self.scenario.dataset_id))

    def _moved(self) -> Iterator[str]:
        """Yield what of it the last run has moved."""
        for asked in self._hub.requests:
            if asked.method == "GET" and "/resolve/" in asked.path and asked.bytes_sent:
                yield asked.path.rsplit("/", 1)[-1]
        for request in self.desk.s3.requests:
            key = request.path.removeprefix(f"/{self.desk.bucket}/")
            if self.scenario.actor == "publisher":
                if request.method == "PUT" and request.request_bytes and self._is_data(key):
                    yield key
            elif request.method == "GET" and self._is_data(key):
                yield from self._paths_of(key, request)

    def _paths_of(self, key: str, request: Request) -> Iterator[str]:
        if not key.endswith(".zip"):
            yield "/".join(key.split("/")[3:])
            return
        first = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        for path, member in self._remote.contents.members.items():
            if member.offset <= first < member.end:  # A file is asked for from its beginning.
                yield path

    def _is_data(self, key: str) -> bool:
        return key.endswith((".arrow", ".zip"))

    # --- what is left behind

    def _age(self, folder: Path) -> None:
        """Make *folder* and all in it two days older."""
        for path in [*folder.rglob("*"), folder]:
            if not path.is_symlink() and path.exists():
                stat = path.stat()
                os.utime(path, (stat.st_atime - TWO_DAYS, stat.st_mtime - TWO_DAYS))

    def _let_days_pass(self) -> None:
        """Run a command two days later, and another one two days after that."""
        for _ in range(2):
            self._age(self.store / ".hgloc")
            self._later_command()
        self._check_no_litter("set-aside")
        for _ in range(2):  # So long what was replaced is kept for those who read it.
            self._age(self.store / ".hgloc")
        self._later_command()

    def _later_command(self) -> None:
        self._sit()
        made = datasets.Dataset.from_dict({"text": ["later"]})
        hf_localize.register_dataset(made, "org/later", skip_s3_upload=True)
        shutil.rmtree(self.store / "org_later")
        shutil.rmtree(self.store / ".hgloc" / "by-digest" / "org_later")
        if self.scenario.dataset_id != NAME:  # It comes from the Hub, with its files.
            self.desk.set(HGLOC_SOURCES="local,s3,public,hub")
            hf_localize.download_repository(LATER, skip_s3_upload=True)
            remove_repository(LATER)

    def _check_no_litter(self, *but: str) -> None:
        work = self.store / ".hgloc"
        kept = ("locks", "kept", "alias", "former", "by-digest", "origin", "name", *but)
        raw = self._raw_files()
        left = [
            path.relative_to(work).as_posix()
            for path in sorted(work.rglob("*"))
            if path.is_file() and path.relative_to(work).parts[0] not in kept and path not in raw
        ]
        left += [path.name for path in work.rglob("*.part")]
        retired = [path.relative_to(work / "former") for path in (work / "former").glob(".*/*/*/*")]
        left += [str(folder) for folder in retired if self.store.joinpath(*folder.parts[1:]).exists()]
        there = {entry.digest for entry in current_session().store.entries()}
        offered = () if but else (work / "by-digest").glob("*/*/*/*")
        left += [str(place) for place in offered if place.name not in there]
        assert not left, left

    def _raw_files(self) -> set[Path]:
        """Return the files of repositories that the store has, checked."""
        local = current_session().repositories.local
        found = {self.store / ".hgloc/blobs/.looked-through"}
        for repository in local.all():
            refs = local.refs(repository)
            found.add(self.store / ".hgloc" / repository.refs_path)
            for commit in () if refs is None else refs.commits:
                snapshot = local.snapshot(repository, commit)
                assert snapshot is not None
                assert local.problems(snapshot.files) == {}
                found |= {local.place_of(repository, commit), *map(local.place_of_file, snapshot.files)}
        return found


def _verify(entry: Any) -> None:
    verify_folder(entry.folder, entry.manifest)


def _brief(content: Rows | None) -> str:
    return "nothing" if content is None else str({name: texts[:1] for name, texts in content.items()})
