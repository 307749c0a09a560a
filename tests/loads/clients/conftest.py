"""Running a program that knows nothing of hf_localize: with stock and the Hub, and without the Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.parquet as pq
import pytest

import hf_localize
from hf_localize.api.repositories import download_repository
from hf_localize.format.repository import Repository
from tests.conftest import DATA, ROOT, Desk
from tests.rig.hub import LoopbackHub, make_repository

CLIENTS = ("axolotl", "inspect-evals", "lerobot", "lm_eval", "mteb", "sentence-transformers", "setfit", "trl")
BENEATH = ("datasets", "huggingface_hub", "transformers", "torch", "pandas", "dask", "duckdb", "polars")
GUARD = str(Path(__file__).parent / "guard")
#: What a cluster's administrator sets, and all that tells these programs of hf_localize.
ACTIVATION = {
    "HGLOC_AUTO_INSTALL": "1",
    "PYTHONPATH": os.pathsep.join((GUARD, str(ROOT / "sitecustomize_example"))),
}


def rows(path: str) -> list[dict[str, Any]]:
    """Return the rows of a parquet file in ``tests/data``."""
    return pq.read_table(DATA / path).to_pylist()


def result_json(folder: Path) -> Any:
    """Return what a program has written for its test."""
    return json.loads((folder / "result.json").read_text())


#: What is localized: a config of a dataset, with a revision or without, or the files of a repository as they are.
Published: TypeAlias = "tuple[str, str | None] | tuple[str, str | None, str] | Repository"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    versions = ", ".join(f"{name} {version(name)}" for name in (*CLIENTS, *BENEATH))
    terminalreporter.write_line(f"clients: {versions}")


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended: its exit status, its folder, what it wrote, and the URLs of all it spoke to."""

    status: int
    folder: Path
    said: str
    met: frozenset[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """A place to run the same program with and without the Hub; it starts in a copy of `given`."""

    hub: LoopbackHub
    desk: Desk
    given: Path

    def serve(self, dataset_id: str, files: Mapping[str, bytes], revision: str = "main") -> None:
        """Put a made repository on the Hub."""
        self.hub.add(make_repository(self.desk.folder / "repositories", dataset_id, revision, files))

    def compare(
        self,
        published: Sequence[Published],
        arguments: list[str],
        read: Callable[[Path], Any],
        *,
        stores: bool = True,
        **env: str,
    ) -> Any:
        """Run ``python *arguments`` with stock and the Hub, then with activation alone, and return the result.

        The Hub is down for the second part, in which a teammate with an empty store runs the program twice:
        the first time the private bucket has the datasets, the second time the store.

        Args:
            published: what the publisher localizes.
            arguments: of ``python``.
            read: makes the result from the folder in which the program ran.
            stores: what the program reads is stored. Ranges of files are not: the teammate then fetches
                what is published before the second time.
            env: variables that all of them have.
        """
        with_the_hub = self.run("stock", arguments, **env)
        assert with_the_hub.status == 0, with_the_hub.said
        expected = read(with_the_hub.folder)
        self.publish_and_stop_the_hub(published)
        for place, spoken_to in (("bucket", {self.desk.s3.url}), ("store", set())):
            ran = self.run(place, arguments, **ACTIVATION, **env)
            assert ran.status == 0, ran.said
            assert read(ran.folder) == expected
            assert ran.met == spoken_to
            if not stores:
                self._localize(published)
        return expected

    def publish_and_stop_the_hub(self, published: Iterable[Published]) -> None:
        """Localize as the publisher, and leave as a teammate who has an empty store."""
        self.desk.publisher()
        self._localize(published)
        self.desk.teammate()
        self.hub.stop()

    @staticmethod
    def _localize(published: Iterable[Published]) -> None:
        for one in published:
            if isinstance(one, Repository):
                download_repository(one.repo_id, repo_type=one.repo_type)
            else:
                hf_localize.download_dataset(*one)

    def run(self, name: str, arguments: list[str], **env: str) -> Ran:
        """Run ``python *arguments`` in a new home, where all caches are empty."""
        folder, log = self.desk.folder / name, self.desk.folder / f"{name}.log"
        shutil.copytree(self.given, folder)
        log.touch()
        home = {
            "HOME": f"{folder}-home",
            "XDG_CACHE_HOME": f"{folder}-home/.cache",
            "XDG_DATA_HOME": f"{folder}-home/.local/share",
            "HF_HOME": f"{folder}-hf",
            "HF_DATASETS_CACHE": f"{folder}-hf/datasets",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # The command `hf` would look for a newer one.
        }
        Path(home["HOME"]).mkdir()
        machine = {**home, "PYTHONPATH": GUARD, "GUARD_LOG": str(log), **env}
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **machine},
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Ran(ran.returncode, folder, ran.stdout + ran.stderr, frozenset(log.read_text().split()))


@pytest.fixture
def bench(hub: LoopbackHub, desk: Desk) -> Iterator[Bench]:
    """Return a bench with the Hub up and an empty bucket."""
    given = desk.folder / "given"
    given.mkdir()
    yield Bench(hub, desk, given)
    hub._added.clear()
    hub.refresh()
