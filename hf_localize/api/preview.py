"""The public function that shows the first rows of a dataset: it streams them, and fetches little."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import errno
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hf_localize.api.configs import configs_listed, ref_of
from hf_localize.api.values import Preview
from hf_localize.errors import HfLocalizeError, StoreError
from hf_localize.sources.session import current_session

if TYPE_CHECKING:
    import datasets

#: What the system answers where a folder may not be made.
_NO_FOLDER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def preview_dataset(
    dataset_id: str,
    config_name: str | None = None,
    revision: str | None = None,
    split: str | None = None,
    rows: int = 5,
    *,
    name: str | None = None,
) -> Preview:
    """Return the first rows of a split of a dataset, from the first source that has it.

    The rows are streamed, so little more than they is downloaded, and nothing is stored.

    Args:
        split: None is the first one.
        rows: the number of rows.

    Returns:
        A :class:`Preview`. Images, sounds and other binary data are not decoded; a dict of ``path`` and
        ``size_bytes`` stands for each.

    Example:
        >>> hf_localize.preview_dataset("openai/gsm8k", "main", split="test", rows=1).columns
        ['question', 'answer']

    Raises:
        InvalidRefError: an argument can't name a dataset.
        DatasetNotFoundError: no source has it.
        FileNotFoundError: it has no such split.
        StoreError: the cache of `datasets` can't be written, which `datasets` needs for each builder.
    """
    ref = ref_of(dataset_id, config_name, revision, name)
    from hf_localize.hf.load import open_builder, plain_request

    with configs_listed(ref), _telling_of_cache():
        builder = open_builder(plain_request(ref), with_hub=current_session().asks("hub"))
    streams = builder.as_streaming_dataset()
    if split is not None and split not in streams:
        raise FileNotFoundError(f"{ref} has no split {split!r}. It has {', '.join(streams)}")
    split = split or next(iter(streams))
    stream = _undecoded(streams[split])
    found = [{key: _plain(value) for key, value in row.items()} for row in itertools.islice(stream, rows)]
    columns = list(stream.features or (found[0] if found else ()))
    return Preview(
        **ref.as_dict(),  # type: ignore[arg-type]
        split=split,
        splits=list(streams),
        columns=columns,
        rows=found,
    )


@contextlib.contextmanager
def _telling_of_cache() -> Iterator[None]:
    """Say which variable helps where `datasets` can't make the folder of its cache."""
    try:
        yield
    except OSError as exc:
        if isinstance(exc, HfLocalizeError) or exc.errno not in _NO_FOLDER:
            raise
        raise StoreError(
            f"the cache of datasets can't be written: {exc}. Set HF_HOME to a folder that you may write to"
        ) from exc


def _undecoded(stream: datasets.IterableDataset) -> datasets.IterableDataset:
    """Return *stream* with images, sounds and the like as they are stored."""
    features = stream.features
    if features is None or not _decoding(features):
        return stream
    plain = copy.deepcopy(features)
    for feature in _decoding(plain):
        feature.decode = False
    return stream.cast(plain)


def _decoding(feature: Any) -> list[Any]:
    """Return the parts of *feature* that decode what is stored."""
    if isinstance(feature, dict):
        return [found for part in feature.values() for found in _decoding(part)]
    if isinstance(feature, (list, tuple)):
        return [found for part in feature for found in _decoding(part)]
    if getattr(feature, "decode", False) is True:
        return [feature]
    return _decoding(getattr(feature, "feature", None) or ())


def _plain(value: Any) -> Any:
    """Return *value* as JSON can hold it."""
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"} and isinstance(value["bytes"], (bytes, type(None))):
            size = None if value["bytes"] is None else len(value["bytes"])
            return {"path": value["path"], "size_bytes": size}
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"path": None, "size_bytes": len(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if value is None or isinstance(value, (str, int)):
        return value
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)
