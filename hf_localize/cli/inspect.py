"""The commands that tell of one dataset: who has it, what it is, and what its first rows are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from hf_localize.api.dataset_ids import near_ids
from hf_localize.cli.options import EXIT_CODES, ONE_DATASET, RAW_FILES, call_either, command
from hf_localize.cli.output import (
    clean,
    is_terminal,
    paint,
    say,
    show,
    show_json,
    show_lines,
    show_table,
    size,
)
from hf_localize.text import label_names, plural, type_of

_COLORS = {"has_it": "green", "not_here": "yellow", "not_asked": "bright_black"}
#: A column of a table of rows is not narrower; else each row is shown as lines.
_NARROWEST = 16
#: Of a longer text only the beginning is shown, but in JSON.
_MAX_SHOWN = 300


@command()
@ONE_DATASET
@RAW_FILES
def explain(dataset_id: str, as_json: bool, **options: Any) -> None:
    """Show which source a load would use, and what each source answers.

    Asks the sources in the order of a load, and shows the answer of each, how long it took, and why. A load
    stops at the first source that has the dataset. Nothing is downloaded. The exit status is 0 if a source
    has it.

    Example: hg-localize explain openai/gsm8k --name main
    """
    from hf_localize.api.inspect import explain_dataset
    from hf_localize.api.repository_upkeep import explain_repository

    told = call_either(explain_dataset, explain_repository, dataset_id, **options)
    if as_json:
        show_json(told)
    else:
        _show_explanation(told)
    if told["takes"] is None:
        if near := near_ids(dataset_id, told["failure"]):
            say(near.lstrip())
        sys.exit(EXIT_CODES[told["failure"]])


def _show_explanation(told: Mapping[str, Any]) -> None:
    width = max(len(source["name"]) for source in told["sources"])
    for number, source in enumerate(told["sources"], 1):
        answer = paint(f"{source['answer'].replace('_', ' '):<11}", fg=_COLORS.get(source["answer"], "red"))
        mark = paint("→", bold=True) if source["source"] == told["takes"] else " "
        first, *others = source["reason"].split("\n")
        if told["failure"] == "usage":  # Which configs there are is said below.
            others = []
        name = f" {number}. {source['name']:<{width}}  "
        show(mark, name, answer, f" {source['seconds']:6.2f} s  {first}")
        for line in others:
            show(f"{'':{width + 28}}{line}")
    show(f"\nA load would {told['does']}{'' if told['takes'] is None else '.'}")
    if told["takes"] not in (None, "local"):
        files, total = told["transfer_files"], told["transfer_bytes"]
        count = "an unknown number of files" if files is None else plural(files, "file")
        show(f"It would transfer {count}, {size(total) or 'of unknown size'}.")
    if files := told["repository"]:
        kept = "A download stores them too" if files["is_kept"] else "Only download --keep-files stores them"
        show(f"The repository has {plural(files['files'], 'file')}, {size(files['size_bytes'])}. {kept}.")


@command()
@ONE_DATASET
@RAW_FILES
def info(dataset_id: str, as_json: bool, **options: Any) -> None:
    """Show a dataset's features, splits, license and location, or what is known of a repository.

    The facts come from the first source that has the dataset. Other sources that have it are listed too.
    The Hub is asked only if no other source has it. Nothing is downloaded.

    Example: hg-localize info openai/gsm8k --name main
    """
    from hf_localize.api.inspect import describe_dataset
    from hf_localize.api.repository_upkeep import describe_repository

    told = call_either(describe_dataset, describe_repository, dataset_id, **options)
    if as_json:
        show_json(told)
        return
    for label, value in _facts(told):
        if value:
            show(paint(f"{label:<11}", bold=True), f"  {clean(value)}")
    _show_part("Splits", [_split_line(split) for split in told["splits"]])
    _show_part("Features", [_feature_line(name, part) for name, part in told["features"].items()])
    same = {True: "", False: ", other content", None: ""}
    origins = [f", from {p['came_from']}" if p["came_from"] else "" for p in told["places"]]
    places = zip(told["places"], origins, strict=True)
    _show_part("Places", [f"{p['place']}{same[p['is_same']]}{origin}" for p, origin in places])


def _facts(told: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
    canonical = told["canonical_id"]
    default = " (the default)" if told["is_default_config"] else ""
    configs = ", ".join(told["configs"])
    yield "Dataset", told["dataset_id"]
    yield "On the Hub", None if canonical == told["dataset_id"] else canonical
    yield "Config", f"{told['resolved_config'] or told['config_name'] or '-'}{default}"
    yield "All configs", configs if len(told["configs"]) > 1 else None
    yield "Revision", told["revision"] or "main"
    yield "Commit", told["commit"]
    yield "License", told["license"]
    yield "Access", _access(told["restriction"])
    yield "Origin", " ".join(filter(None, (told["origin"], told["created"])))
    yield "Written by", ", ".join(f"{name} {version}" for name, version in told["written_by"].items())
    yield "Size", told["size_bytes"] and f"{size(told['size_bytes'])}, {plural(told['files'], 'file')}"
    yield "Digest", told["digest"]


def _access(restriction: str | None) -> str | None:
    if restriction == "unknown":
        return "not known whether the Hub restricts it"
    return restriction and f"{restriction} on the Hub"


def _split_line(split: Mapping[str, Any]) -> str:
    shards = f", {plural(split['shards'], 'shard')}" if split["shards"] else ""
    rows = "? rows" if split["rows"] is None else plural(split["rows"], "row")
    return f"{split['name']}: {rows}, {size(split['size_bytes']) or 'of unknown size'}{shards}"


def _show_part(heading: str, lines: list[str]) -> None:
    if lines:
        show("\n", paint(heading, bold=True))
        show("\n".join([f"  {clean(line)}" for line in lines]))


def _feature_line(name: str, feature: Any) -> str:
    labels = label_names(feature) if isinstance(feature, Mapping) else []
    shown = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
    return f"{name}: {type_of(feature)}{': ' if shown else ''}{shown}"


@command()
@ONE_DATASET
@click.option("--split", metavar="TEXT", help="Split to show. Default: the first one.")
@click.option("--rows", type=click.IntRange(1, 1000), default=5, help="Number of rows. Default: 5.")
def preview(dataset_id: str, as_json: bool, **options: Any) -> None:
    """Show the first rows of a dataset.

    The rows are streamed from the first source that has the dataset. Little more than these rows is read,
    and nothing is stored. Images and audio are shown by name and size. If stdout is not a terminal, each
    row is a line of tab-separated values.

    Example: hg-localize preview openai/gsm8k --name main --split test --rows 3
    """
    import shutil

    from hf_localize.api.preview import preview_dataset

    told = preview_dataset(dataset_id, **options)
    columns, rows = told["columns"], told["rows"]
    if as_json:
        show_json(told)
        return
    others = ", ".join(name for name in told["splits"] if name != told["split"])
    say(f"split {told['split']}{f'; others: {others}' if others else ''}")
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not is_terminal():
        say("\t".join(map(clean, columns)))
        show_lines(cells)
    elif len(columns) * _NARROWEST <= shutil.get_terminal_size().columns:
        show_table(columns, [[_short(cell) for cell in row] for row in cells])
    else:
        for number, row in enumerate(cells):
            show(paint(f"row {number}", bold=True))
            for column, cell in zip(columns, row, strict=True):
                show("  ", paint(clean(column), bold=True), f": {clean(_short(cell))}")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.keys() == {"path", "size_bytes"}:
        return f"<{value['path'] or 'binary'}, {size(value['size_bytes']) or 'not stored'}>"
    import json

    return json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
