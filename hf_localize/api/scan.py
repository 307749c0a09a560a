"""Finding which datasets and repositories source code names: literal ids in Python, notebooks and YAML."""

from __future__ import annotations

import ast
import functools
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

from hf_localize.errors import InvalidRefError
from hf_localize.format.listfile import RepositoryRef
from hf_localize.format.refs import DatasetRef
from hf_localize.format.repository import REPO_TYPES, Repository, RepoType

_log = logging.getLogger(__name__)
Ref: TypeAlias = "DatasetRef | RepositoryRef"
#: Arguments with which `load_dataset` reads files of the repository in place of the dataset.
_OF_FILES = ("data_files", "data_dir")
_METRIC_HOMES = {kind: f"evaluate-{kind}" for kind in ("metric", "comparison", "measurement")}
#: A path of `HfFileSystem`: the type, the id, the revision.
_HF_PATH = re.compile(r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/[a-z]+/[^/]+|[^/]+))?(?:/.*)?")
#: What a task of lm-evaluation-harness has, or has from another file.
_OF_TASK = frozenset({"dataset_path", "dataset_name", "include"})
_PYTHON, _NOTEBOOKS, _YAML = (".py", ".pyi"), (".ipynb",), (".yaml", ".yml")
#: A line of a notebook that is for IPython or the shell, up to its command.
_MAGIC = re.compile(r"^(\s*)[%!?].*", re.MULTILINE)
#: Folders with code of others.
_FOREIGN = frozenset({"node_modules", "site-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Found:
    """What source code names, and the places where it does, each as ``path:line`` or ``path:cell N``."""

    ref: Ref
    places: tuple[str, ...]


def scan(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Found], list[str]]:
    """Return what Python, notebook and YAML files at *paths* name, and the calls whose id is not a literal.

    Names with one string as their value count as literals. A folder stands for all files below it.

    Raises:
        FileNotFoundError: there is no such file or folder.
    """
    found: dict[Ref, list[str]] = {}
    unknown: list[str] = []
    for path in dict.fromkeys(file for given in paths for file in _files(Path(given))):
        if path.suffix not in (*_PYTHON, *_NOTEBOOKS, *_YAML):
            _log.warning("%s is left out: by its name, it is neither Python, a notebook nor YAML", path)
            continue
        read = _in_yaml if path.suffix in _YAML else _in_notebook if path.suffix in _NOTEBOOKS else _in_python
        try:
            for line, ref in read(path):
                place = f"{path}:{line}" if line else str(path)
                if ref is None:
                    unknown.append(place)
                else:
                    found.setdefault(ref, []).append(place)
        except (SyntaxError, ValueError, RecursionError) as exc:
            _log.warning("%s is left out: %s", path, str(exc).partition("\n")[0])
    return [Found(ref, tuple(dict.fromkeys(places))) for ref, places in found.items()], unknown


def _files(given: Path) -> Iterator[Path]:
    if not given.is_dir():
        given.stat()  # Where it is missing, this says so.
        yield given
        return
    for folder, folders, names in os.walk(given):
        folders[:] = sorted(name for name in folders if not _is_foreign(Path(folder, name)))
        yield from (Path(folder, n) for n in sorted(names) if n.endswith((".py", *_NOTEBOOKS, *_YAML)))


def _is_foreign(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _FOREIGN or (folder / "pyvenv.cfg").exists()


# --- Python -----------------------------------------------------------------------------------


def _in_python(path: Path) -> Iterator[tuple[int, Ref | None]]:
    tree = _parsed(path.read_bytes(), path)
    return _named_in(tree, _Source(tree))


def _in_notebook(path: Path) -> Iterator[tuple[str, Ref | None]]:
    document = json.loads(path.read_bytes())
    try:
        cells = [("".join(cell["source"]), cell["cell_type"]) for cell in document["cells"]]
    except (KeyError, TypeError) as exc:
        raise ValueError("it is no notebook of format 4") from exc
    trees: dict[str, ast.Module] = {}
    for number, (text, kind) in enumerate(cells, 1):
        try:
            if kind == "code":
                trees[f"cell {number}"] = _parsed(_MAGIC.sub(r"\1pass", text), path)
        except SyntaxError as exc:
            _log.warning("%s:cell %d is left out: %s", path, number, exc.msg)
    source = _Source(ast.Module([statement for tree in trees.values() for statement in tree.body], []))
    for cell, tree in trees.items():
        yield from ((cell, ref) for _, ref in _named_in(tree, source))


def _parsed(code: str | bytes, path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of escapes in strings, say: it is others' code.
        return ast.parse(code, str(path))


def _named_in(tree: ast.Module, source: _Source) -> Iterator[tuple[int, Ref | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = source.function(node)
            if (read := _CALLS.get(name)) is not None:
                yield from ((node.lineno, ref) for ref in read(_Call(node, source)))
        elif isinstance(node, ast.Constant) and (ref := _of_hf_path(node.value)) is not None:
            yield node.lineno, ref


class _Source:
    """What names stand for in a file: functions that are imported, and strings."""

    def __init__(self, tree: ast.Module) -> None:
        self._imported: dict[str, str] = {}
        values: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._imported |= {alias.asname or alias.name: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                self._imported |= {a.asname or a.name: f"{module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Assign) and len(node.targets) == 1:
                self._note(node.targets[0], node.value, values)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                self._note(node.target, node.value, values)
        self._values = {name: exprs[0] for name, exprs in values.items() if len(exprs) == 1}

    @staticmethod
    def _note(target: ast.expr, value: ast.expr, values: dict[str, list[ast.expr]]) -> None:
        if isinstance(target, ast.Name):
            values.setdefault(target.id, []).append(value)

    def function(self, call: ast.Call) -> str:
        """Return the name of the function that is called: of `evaluate`, with the module."""
        function = call.func
        if isinstance(function, ast.Name):
            full = self._imported.get(function.id, function.id)
        elif isinstance(function, ast.Attribute):
            owner = function.value.id if isinstance(function.value, ast.Name) else ""
            full = f"{self._imported.get(owner, owner)}.{function.attr}"
        else:
            return ""
        return full if full == "evaluate.load" else full.rpartition(".")[2]

    def text(self, node: ast.expr | None) -> str | None:
        """Return the string for which *node* stands; None: it is not known."""
        if isinstance(node, ast.Name):
            node = self._values.get(node.id)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


class _Call:
    """The arguments of a call."""

    def __init__(self, node: ast.Call, source: _Source) -> None:
        self._source, self._positional = source, node.args
        self._named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}

    def has(self, name: str) -> bool:
        """Tell whether an argument is given, and not as None."""
        value = self._named.get(name)
        return value is not None and not (isinstance(value, ast.Constant) and value.value is None)

    def text(self, *names: str, position: int | None = None) -> str | None:
        """Return an argument that is a string: by one of its names, or its position."""
        named = next((self._named[name] for name in names if name in self._named), None)
        if named is None and position is not None and position < len(self._positional):
            named = self._positional[position]
        return self._source.text(named)

    @property
    def has_arguments(self) -> bool:
        """Tell whether there is any."""
        return bool(self._positional or self._named)


def _of_load_dataset(call: _Call) -> Iterator[Ref | None]:
    dataset_id = call.text("path", position=0)
    if dataset_id is None:
        if call.has_arguments:
            yield None
        return
    config_name = call.text("name", position=1)
    has_files = any(map(call.has, _OF_FILES))
    yield from _dataset(dataset_id, config_name, call.text("revision"), has_files=has_files)


def _of_hub_download(call: _Call) -> Iterator[Ref | None]:
    yield from _repository(call.text("repo_id", position=0), call.text("repo_type"), call.text("revision"))


def _of_from_pretrained(call: _Call) -> Iterator[Ref | None]:
    names = ("pretrained_model_name_or_path", "repo_id", "model_id")
    repo_id = call.text(*names, position=0)
    if repo_id is not None:  # Many classes have a function of that name, and most ids are variables.
        yield from _repository(repo_id, "model", call.text("revision"))


def _of_evaluate(call: _Call) -> Iterator[Ref | None]:
    name, kind = call.text("path", position=0), call.text("module_type")
    if name is not None and "/" not in name:
        name = f"{_METRIC_HOMES.get(kind or 'metric', 'evaluate-metric')}/{name}"
    yield from _repository(name, "space", call.text("revision"))


_CALLS: dict[str, Callable[[_Call], Iterator[Ref | None]]] = {
    **dict.fromkeys(
        (
            *("load_dataset", "load_dataset_builder", "hf_dataset"),
            *("get_dataset_config_names", "get_dataset_split_names", "get_dataset_infos"),
        ),
        _of_load_dataset,
    ),
    "hf_hub_download": _of_hub_download,
    "snapshot_download": _of_hub_download,
    "from_pretrained": _of_from_pretrained,
    "evaluate.load": _of_evaluate,
}


# --- YAML -------------------------------------------------------------------------------------


def _in_yaml(path: Path) -> Iterator[tuple[int, Ref | None]]:
    for document in _documents(path):
        yield from ((0, ref) for ref in _of_tasks(document, path, {}))


def _documents(path: Path) -> list[Any]:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # It has no types.
        """Reads tags of others, such as ``!function``, as nothing."""

    Loader.add_multi_constructor("", lambda _loader, _tag, _node: None)
    try:
        return list(yaml.load_all(path.read_bytes(), Loader))  # It is a SafeLoader.
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc


def _of_tasks(value: Any, path: Path, around: Mapping[str, Any]) -> Iterator[Ref]:
    """Yield what tasks of lm-evaluation-harness name; *around* is what the mapping around them says."""
    if isinstance(value, list):
        for item in value:
            yield from _of_tasks(item, path, around)
    elif isinstance(value, Mapping):
        merged = {**around, **_included(value, path, frozenset()), **value}
        is_named = not _OF_TASK.isdisjoint(value) and isinstance(merged.get("dataset_path"), str)
        if is_named and ("task" in merged or not path.name.startswith("_")):  # Else it is a template.
            yield from _of_task(merged)
        known = {name: merged[name] for name in ("dataset_path",) if name in merged}
        for item in value.values():
            if isinstance(item, (list, Mapping)):
                yield from _of_tasks(item, path, known)


def _of_task(task: Mapping[str, Any]) -> Iterator[Ref]:
    given = task.get("dataset_kwargs")
    kwargs: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    name, revision = task.get("dataset_name"), kwargs.get("revision")
    yield from _dataset(
        task["dataset_path"],
        None if name is None else str(name),
        revision if isinstance(revision, str) else None,
        has_files=any(kwargs.get(argument) for argument in _OF_FILES),
    )


def _included(task: Mapping[str, Any], path: Path, seen: frozenset[Path]) -> dict[str, Any]:
    """Return what the files that a task includes say, the last one first."""
    names = task.get("include")
    found: dict[str, Any] = {}
    for name in names if isinstance(names, list) else [names]:
        file = path.parent / name if isinstance(name, str) else None
        if file is None or file in seen or not file.is_file():
            continue
        for document in _documents(file):
            if isinstance(document, Mapping):
                found |= {**_included(document, file, seen | {file}), **document}
    return found


# --- ids --------------------------------------------------------------------------------------


def _dataset(
    dataset_id: str, config_name: str | None, revision: str | None, *, has_files: bool
) -> Iterator[Ref]:
    if (ref := _of_hf_path(dataset_id)) is not None:
        yield ref
        return
    if _is_no_id(dataset_id) or dataset_id in _packaged():
        return
    if has_files:
        yield from filter(None, _repository(dataset_id, "dataset", revision))
        return
    try:
        yield DatasetRef(dataset_id, config_name or None, revision or None)
    except InvalidRefError:  # A path, say.
        return


def _repository(repo_id: str | None, repo_type: str | None, revision: str | None) -> Iterator[Ref | None]:
    repo_type = repo_type or "model"
    if repo_id is None or repo_type not in REPO_TYPES:
        yield None
        return
    try:
        if not _is_no_id(repo_id):
            yield RepositoryRef(Repository(repo_type, repo_id), revision)
    except InvalidRefError:
        return


def _is_no_id(text: str) -> bool:
    """Tell whether *text* is a path or URL."""
    return "://" in text or text.startswith((".", "/", "~")) or text.count("/") > 1 or text.endswith(".py")


def _of_hf_path(text: object) -> RepositoryRef | None:
    found = _HF_PATH.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    kind, repo_id, revision = found.groups()
    repo_type = cast("RepoType", (kind or "models").removesuffix("s"))
    try:
        return RepositoryRef(Repository(repo_type, repo_id), revision and unquote(revision))
    except InvalidRefError:  # Only the beginning of a path.
        return None


@functools.lru_cache(maxsize=1)
def _packaged() -> frozenset[str]:
    from hf_localize.hf import packaged_builders

    return frozenset(packaged_builders())
