"""How commands show what they found."""

from __future__ import annotations

from typing import Any

import click


def show(found: list[dict[str, str | None]]) -> None:
    """Print one line a dataset, columns divided by tabs; ``-`` stands for the default."""
    click.echo("dataset_id\tconfig_name\trevision", err=True)
    if found:
        click.echo("\n".join(["\t".join(names(item)) for item in found]))


def names(item: dict[str, Any]) -> list[str]:
    """Return what names a dataset; ``-`` stands for the default."""
    return [item[name] or "-" for name in ("dataset_id", "config_name", "revision")]
