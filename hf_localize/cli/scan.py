"""The command that finds which datasets and repositories source code names."""

from __future__ import annotations

import click

from hf_localize.cli.options import command, output_file
from hf_localize.cli.output import say, show, show_json
from hf_localize.text import plural


@command(has_bars=False)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True))
@output_file("File to write. Default: -, which is stdout.")
def scan(paths: tuple[str, ...], output: str | None, as_json: bool) -> None:
    """Find the datasets, models and metrics that source code names.

    Reads Python files, notebooks and YAML files, and those in folders. Finds literal ids in load_dataset,
    hf_hub_download, snapshot_download, from_pretrained and evaluate.load, hf:// paths, and the tasks of
    lm-evaluation-harness (dataset_path, dataset_name). Writes a list for hg-localize download --from-file,
    with the places as comments. Calls whose id is not a literal are named on stderr. No code is run.

    Example: hg-localize scan src tasks -o needed.txt
    """
    from hf_localize.api.scan import scan as find
    from hf_localize.format.listfile import line_of

    found, unknown = find(paths)
    lines = sorted(f"{line_of(item.ref)}  # {', '.join(item.places)}" for item in found)
    if output not in (None, "-"):
        from pathlib import Path

        from hf_localize.format.files import replacing, telling_unwritable

        with telling_unwritable(output), replacing(Path(output)) as part:
            part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if as_json:
        listed = [{"repo_type": None, **item.ref.as_dict(), "places": item.places} for item in found]
        show_json({"found": listed, "unknown": unknown})
    elif output in (None, "-"):
        for line in lines:
            show(line)
    for place in unknown:
        say(f"{place}: the id is not a literal")
    say(f"Found {plural(len(found), 'dataset or repository', 'datasets and repositories')}")
