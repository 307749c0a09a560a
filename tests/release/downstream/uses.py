"""What a downstream program may write. `make test-package` has mypy --strict check it against the wheel.

Every assignment names the type that a user relies on: a name that lost its type (it would be Any)
is found by ``warn_unused_ignores`` in the lines that must be wrong.
"""

from __future__ import annotations

from pathlib import Path

import hf_localize
from hf_localize import DatasetName, Download, HfLocalizeError, install, installed, is_installed, uninstall
from hf_localize.errors import DatasetNotFoundError, UnreachableError


def publish(dataset_id: str) -> str:
    """Use the publisher's functions."""
    success, path = hf_localize.download_dataset(dataset_id, "main", make_public=True)
    done: bool = success
    here: str | None = hf_localize.download_dataset(dataset_id, name="main").path
    assert here == path
    registered: str = hf_localize.register_dataset(
        Path("corpus"), "team/corpus", revision="v1"
    ).message_or_path
    synced = hf_localize.sync_local_dataset_to_s3("team/corpus", revision="v1")
    said: str = synced.message_or_path
    many: list[Download] = hf_localize.download_datasets([dataset_id], all_configs=True)
    failed: list[str | None] = [one.error for one in many if not one.success]
    return f"{done} {path} {registered} {said} {failed}"


def look() -> list[str | None]:
    """Use what lists and checks."""
    store: Path = hf_localize.DATASETS_STORE_PATH
    local: list[DatasetName] = hf_localize.list_local_datasets()
    rows: list[int | None] = [item.rows for item in hf_localize.list_local_datasets(details=True)]
    does: str = hf_localize.explain_dataset("team/corpus", name="default").does
    assert len(rows) + len(does) > 0
    checked = hf_localize.verify_dataset("team/corpus", deep=True)
    repaired = hf_localize.repair_dataset("team/corpus")
    pruned = hf_localize.prune_datasets(max_bytes=10**9, keep=["team/*"], dry_run=True)
    assert len(checked) + len(repaired) + len(pruned) + len(str(store)) > 0
    return [item.dataset_id for item in (*local, *hf_localize.list_s3_datasets())]


def load() -> int:
    """Use what loads."""
    install(sources=("local", "s3"))
    if is_installed():
        uninstall()
    with installed(offline=True):
        corpus = hf_localize.load_local_dataset("team/corpus", split="train", keep_in_memory=True)
        hf_localize.load_local_dataset("team/corpus", streaming=True)
    try:
        hf_localize.remove_dataset("team/corpus")
        hf_localize.withdraw_dataset("team/corpus")
    except DatasetNotFoundError as error:
        print(error.answers)
    except UnreachableError as error:
        print(error.errno)
    except HfLocalizeError as error:
        print(error)
    return len(corpus)


# Each of these is wrong, and must be seen to be.
hf_localize.download_dataset(1)  # type: ignore[arg-type]
hf_localize.list_local_datasets().no_such_method()  # type: ignore[attr-defined]
wrong: int = hf_localize.DATASETS_STORE_PATH  # type: ignore[assignment]
hf_localize.prune_datasets(max_size="50GB")  # type: ignore[call-arg]
hf_localize.no_such_function()  # type: ignore[attr-defined]
install(source="local")  # type: ignore[call-arg]
install(offline="no")  # type: ignore[arg-type]
hf_localize.load_local_dataset("team/corpus", splits="train")  # type: ignore[call-overload]
