"""The Hugging Face Hub as a source: stock `datasets` answers, and what it prepares is captured."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote

import datasets
import huggingface_hub
from datasets.exceptions import DatasetNotFoundError as StockNotFoundError
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub.utils import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_localize.errors import (
    ScriptDatasetError,
    UnreachableError,
    bookkeeping,
    without_queries,
    without_user,
)
from hf_localize.format import save_to_disk
from hf_localize.format.features import portable
from hf_localize.format.manifest import Manifest, Split, known
from hf_localize.format.refs import FILES_CONFIG, DatasetRef
from hf_localize.hf.capture import capture_builder, capture_files
from hf_localize.hf.doors import clients
from hf_localize.hf.doors.state import asking_the_hub_itself, cut_off
from hf_localize.hf.errors import telling_unreachable
from hf_localize.hf.source_rows import count_source_rows, cut_at_files
from hf_localize.hf.unprepared import telling_why
from hf_localize.settings import SOURCE_NAMES
from hf_localize.settings.secret import Secret, revealed
from hf_localize.sources.base import Entry, NotHere, download_command
from hf_localize.store.linking import link_from_cache
from hf_localize.transfer.flushing import flushing

if TYPE_CHECKING:
    import requests

_log = logging.getLogger(__name__)
NAME = SOURCE_NAMES["hub"]
#: Arguments of ``load_dataset_builder`` that don't take part in the name of a cached config.
_NOT_IN_CONFIG_ID = frozenset(
    {"name", "download_config", "download_mode", "token", "storage_options", "trust_remote_code"}
)
#: A file of a repository, as stock names it.
_IN_REPOSITORY = re.compile(r"hf://datasets/[^@]+@[^/]+/(.+)")
OpenBuilder = Callable[[], datasets.DatasetBuilder]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HubEntry:
    """A dataset that stock `datasets` found: its builder, which has downloaded no data yet."""

    builder: datasets.DatasetBuilder
    ref: DatasetRef
    token: bool | Secret[str] | None = None
    source: str = NAME
    #: As stock's ``download_and_prepare`` takes it.
    verification_mode: str | None = None

    @property
    def is_from_stock_cache(self) -> bool:
        """Tell whether stock could not reach the Hub and took the newest data of its own cache."""
        return isinstance(self.builder, Cache)

    @property
    def commit(self) -> str | None:
        """Return the commit SHA that stock pinned while it resolved the dataset; None: it did not."""
        # A builder class of another library may have neither.
        for text in (getattr(self.builder, "base_path", None), getattr(self.builder, "hash", None)):
            if found := re.search(r"(?:@|^)([0-9a-f]{40})(?:/|$)", str(text or "")):
                return found.group(1)
        return None

    @property
    def place(self) -> str:
        """Return the page of the repository."""
        return f"{endpoint()}/datasets/{self.builder.repo_id or self.ref.dataset_id}"

    def described(self) -> Manifest:
        """Return what is known of the dataset before anything is downloaded; the manifest names no file."""
        info = self.builder.info
        manifest = Manifest(
            dataset_id=self.ref.dataset_id,
            config_name=self.ref.config_name,
            revision=self.ref.revision,
            resolved_config=self.builder.config.name,
            repository_configs=tuple(self.builder.builder_configs),
            origin="hub",
            splits=tuple(
                Split(split.name, split.num_examples or 0, split.num_bytes or 0, ())
                for split in (info.splits or {}).values()
            ),
            features=portable(info.features.to_dict()) if info.features else {},
        )
        if self.is_from_stock_cache:
            return manifest
        return self._with_facts(manifest)

    def to_download(self) -> tuple[int | None, int | None]:
        """Return how many files, and bytes, stock would download if its cache had none; None: not known."""
        files = self.builder.config.data_files
        if not files:
            return None, self.builder.info.download_size
        found = [_IN_REPOSITORY.match(url) for urls in files.values() for url in urls]
        paths = [unquote(match.group(1)) for match in found if match]
        if len(paths) < len(found):  # Some lie elsewhere.
            return len(found), self.builder.info.download_size
        try:
            with telling_unreachable():
                told = _api(self.token).get_paths_info(
                    self.builder.repo_id, paths, revision=self.commit, repo_type="dataset"
                )
        except (UnreachableError, HfHubHTTPError, ValueError) as exc:
            _log.debug("the sizes of the files of %s are not known: %s", self.ref, exc)
            return len(paths), self.builder.info.download_size
        return len(paths), sum(file.size for file in told if hasattr(file, "size"))

    def fetch_into(self, folder: Path) -> Manifest:
        """Let stock download and prepare every split, and capture the result into *folder*.

        It is prepared beside the entry, not in the cache of `datasets`: of what lies there the
        source files' rows are not known any more.
        """
        if self.is_from_stock_cache:
            raise UnreachableError(
                "it is out of reach. Loads take the dataset from the cache of datasets, but it can't be "
                "stored from there"
            )
        shutil.rmtree(folder)  # What an interrupted capture left can't be told from the new.
        prepared = folder / ".prepared"
        cut_at_files(self.builder)
        command = download_command(self.ref)
        advice = f"\nTo store its files as they are, for loads with data_files=: {command} --keep-files"
        on_sizes = (
            f"\nTo download it without this check: {command} --no-checks (verification_mode='no_checks')"
        )
        telling = telling_why(self.builder, str(self.ref), advice, on_sizes)
        with flushing(folder), telling, telling_unreachable():
            self.builder.download_and_prepare(str(prepared), verification_mode=self.verification_mode)
        manifest = self.capture_into(folder, is_ours=True)
        shutil.rmtree(prepared)
        return manifest

    def capture_into(self, folder: Path, *, is_ours: bool = False) -> Manifest:
        """Write what the builder has prepared into the empty *folder* as an entry.

        Args:
            is_ours: what it has prepared is nobody else's, and may be changed.
        """
        manifest = capture_builder(self.builder, folder, self.ref, is_ours=is_ours)
        manifest = self._with_facts(manifest)
        with telling_unreachable():
            return _with_card(manifest, folder, self.token)

    def _with_facts(self, manifest: Manifest) -> Manifest:
        repository, revision = self.builder.repo_id or manifest.dataset_id, self.commit or manifest.revision
        with telling_unreachable():
            return _with_facts(manifest, repository, revision, self.token)


class HubFiles(NamedTuple):
    """The files of a repository as they are on the Hub, at one commit; *manifest* names none yet."""

    manifest: Manifest
    source: str = NAME

    @property
    def commit(self) -> str | None:
        """Return the commit SHA."""
        return self.manifest.commit

    def fetch_into(self, folder: Path) -> Manifest:
        """Download the repository, and link its files into *folder*. Dotfiles are left out."""
        repository = self.manifest.canonical_id or self.manifest.dataset_id
        with telling_unreachable(), asking_the_hub_itself():
            snapshot = _api().snapshot_download(
                repository, repo_type="dataset", revision=self.manifest.commit
            )
        shutil.rmtree(folder)
        return capture_files(Path(snapshot), folder, self.manifest, link_from_cache)


@dataclass(frozen=True, slots=True)
class HubFilesSource:
    """Answer from the Hub with the original files of a repository."""

    offline: bool
    timeout_seconds: float
    kind: str = "hub"
    name: str = NAME

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return the files of the repository of *ref*, whatever its config.

        Raises:
            UnreachableError: the Hub is out of reach.
        """
        if self.offline:
            return NotHere("left out: offline")
        if problem := unreachable(self.timeout_seconds):
            raise UnreachableError(problem)
        files = Manifest(
            dataset_id=ref.dataset_id, config_name=FILES_CONFIG, revision=ref.revision, origin="hub"
        )
        repository = canonical_id(ref.dataset_id, self.timeout_seconds)
        with telling_unreachable(), asking_the_hub_itself():
            try:
                return HubFiles(_with_facts(files, repository, ref.revision, None))
            except (RepositoryNotFoundError, RevisionNotFoundError) as exc:
                return NotHere(without_queries(str(exc).strip()), exc)


@dataclass(frozen=True, slots=True)
class HubSource:
    """Answer from the Hub, by calling stock `datasets` as the caller would have.

    ``open_builder`` is stock's ``load_dataset_builder`` with the caller's own arguments.
    """

    open_builder: OpenBuilder
    token: bool | Secret[str] | None = None
    offline: bool = False
    timeout_seconds: float = 20.0
    cache_dir: str | None = None
    verification_mode: str | None = None
    kind: str = "hub"
    name: str = NAME

    def find(self, ref: DatasetRef) -> Entry | NotHere:
        """Return stock's builder for *ref*, or that stock found no such dataset.

        Errors of stock that say something of the dataset itself (an unknown config, say) are
        the answer and are raised as they are.

        Raises:
            UnreachableError: the Hub is out of reach.
            ScriptDatasetError: the dataset is a script, which the installed `datasets` refuses.
        """
        if self.offline and ref.revision is not None:
            return NotHere("left out: offline, stock can't tell one revision from another")
        if not self.offline and (problem := unreachable(self.timeout_seconds)):
            # What stock has cached may be of another revision.
            found = stock_cached(ref, {"cache_dir": self.cache_dir}) if ref.revision is None else None
            if found is not None:
                _log.warning("%s is taken from the cache of datasets: %s", ref, problem)
            elif (found := without_the_hub(self.open_builder)) is None:
                raise UnreachableError(problem)
            return HubEntry(found, ref, self.token, verification_mode=self.verification_mode)
        try:
            with telling_unreachable(), asking_the_hub_itself():  # What is held may be older.
                builder = self.open_builder()
                entry = HubEntry(builder, ref, self.token, verification_mode=self.verification_mode)
        except StockNotFoundError as exc:
            return NotHere(without_queries(str(exc)), exc)
        except RuntimeError as exc:
            if "scripts are no longer supported" in str(exc):
                raise ScriptDatasetError(
                    f"{ref} is a loading script, and datasets {datasets.__version__} does not run scripts. "
                    "Localize it once on a machine with 'datasets<4': "
                    f"hg-localize download {ref.dataset_id} --trust-remote-code. "
                    "Every version can load it then."
                ) from exc
            raise
        with bookkeeping(f"the rows of each source file of {ref} are not counted"):
            count_source_rows(entry.builder)
        if entry.is_from_stock_cache and ref.revision is not None:
            raise UnreachableError(
                f"it is out of reach, and stock's cache may have a revision other than {ref.revision!r}"
            )
        return entry


def canonical_id(dataset_id: str, timeout_seconds: float) -> str:
    """Return the id to which the Hub redirects *dataset_id*: of an old name, or another letter case.

    Newer huggingface_hub refuses an old name of one segment before it asks. Where the Hub does
    not answer, *dataset_id* is returned: stock will say what is wrong.
    """
    import requests

    path = "/api/datasets/"
    headers = huggingface_hub.utils.build_hf_headers()
    try:
        answer = _head(f"{path}{dataset_id}", timeout_seconds, headers=headers, allow_redirects=True)
    except (requests.RequestException, UnreachableError):
        return dataset_id
    return unquote(answer.url.partition(path)[2]) if answer.ok and path in answer.url else dataset_id


def unreachable(timeout_seconds: float) -> str | None:
    """Return why the Hub can't be reached, or None. It asks once, and waits for its answer only.

    huggingface_hub would try for 24 s and more, also where it is known to be in vain. What may be
    a matter of its own configuration (certificates, proxies) is left to it.
    """
    import requests

    try:
        answer = _head("", timeout_seconds, allow_redirects=False)
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
        return None
    except (requests.RequestException, UnreachableError) as exc:
        why = exc if isinstance(exc, UnreachableError) else type(exc).__name__
        return f"Couldn't reach {endpoint()} ({why})"
    return f"{endpoint()} answers {answer.status_code}" if answer.status_code >= 500 else None


def endpoint() -> str:
    """Return the URL of the Hub, as it may be shown."""
    return without_user(str(datasets.config.HF_ENDPOINT))


def token_owner() -> tuple[str, str]:
    """Return whose token is used for the Hub, in words, after ``ok`` or ``warn``."""
    if huggingface_hub.get_token() is None:
        return "ok", "none: only public datasets can be read"
    try:
        return "ok", f"it belongs to {_api().whoami()['name']}"
    except Exception as exc:  # noqa: BLE001  # Its HTTP library's errors differ by release.
        return "warn", f"it was refused: {type(exc).__name__}"


def commit_now(repository: str, revision: str | None) -> tuple[str | None, str]:
    """Return the commit SHA that *revision* of *repository* has on the Hub now; else None, and why.

    Raises:
        UnreachableError: the Hub is out of reach.
    """
    with telling_unreachable(), asking_the_hub_itself():
        try:
            return _api().dataset_info(repository, revision=revision).sha, ""
        except (RepositoryNotFoundError, RevisionNotFoundError) as exc:
            return None, without_queries(str(exc).strip().splitlines()[0])


def _head(path: str, timeout_seconds: float, **options: Any) -> requests.Response:
    # Only what is not stored is asked for, and newer huggingface_hub does without requests.
    from hf_localize.hf.hub_terms import asked

    return asked("HEAD", f"{datasets.config.HF_ENDPOINT}{path}", timeout_seconds, **options)


def stock_cached(ref: DatasetRef, arguments: Mapping[str, Any]) -> datasets.DatasetBuilder | None:
    """Return the builder by which stock answers from its own cache where the Hub is out of reach.

    Stock itself asks the Hub again and again first, for minutes where packets are swallowed.

    Args:
        arguments: those of the load besides *ref*, which name a config of their own in that cache.
    """
    naming = {name: value for name, value in arguments.items() if name not in _NOT_IN_CONFIG_ID}
    try:
        factory = datasets.load.CachedDatasetModuleFactory(ref.dataset_id, cache_dir=naming.get("cache_dir"))
        module = factory.get_module()
        if module.module_path != Cache.__module__:
            return None  # The cached module of a script.
        return Cache(config_name=ref.config_name, hash=module.hash, **module.builder_kwargs, **naming)
    except Exception:  # noqa: BLE001  # Stock asks the same question and takes any error for a no.
        return None


def without_the_hub(call_stock: Callable[[], _T]) -> _T | None:
    """Return what stock answers without the Hub, or raise what it raises; None: it needs the Hub.

    Stock would ask for 24 s and more; here each of its questions is refused at once. What it has cached is
    not among the answers: that may be of another revision (:func:`stock_cached`).
    """
    if not clients.is_watching():
        return None
    with contextlib.suppress(OSError, ValueError), cut_off():  # So it says that it needs the Hub.
        found = call_stock()
        return None if isinstance(found, Cache) else found
    return None


def _with_facts(manifest: Manifest, repository: str, revision: str | None, token: Any) -> Manifest:
    """Return *manifest* with what the Hub says of the repository at *revision*."""
    facts = _api(token).dataset_info(repository, revision=revision)
    return replace(
        manifest,
        canonical_id=facts.id,
        commit=facts.sha,
        gated=known(facts.gated),
        private=known(facts.private),
        license=_license(facts) or manifest.license,
    )


def _with_card(manifest: Manifest, folder: Path, token: Any) -> Manifest:
    """Return *manifest* with the repository's card, which is added to *folder*."""
    try:
        card = _api(token).hf_hub_download(
            manifest.canonical_id or manifest.dataset_id,
            save_to_disk.CARD_FILE,
            repo_type="dataset",
            revision=manifest.commit,
        )
    except EntryNotFoundError:
        _log.debug("%s has no dataset card", manifest.ref)
        return manifest
    return save_to_disk.with_card(manifest, folder, Path(card))


def _api(token: Any = None) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=datasets.config.HF_ENDPOINT, token=revealed(token))


def _license(facts: huggingface_hub.DatasetInfo) -> str | None:
    declared = getattr(getattr(facts, "card_data", None), "license", None)
    return ", ".join(declared) if isinstance(declared, list) else declared
