"""Pages that are made from the code: the command line, the Python API, and what each error is."""

from __future__ import annotations

import inspect
import re
from typing import Any

import click

import hf_localize
from hf_localize import errors
from hf_localize.cli import main

_SECTION = re.compile(r"^(Args|Returns|Yields|Raises):$", flags=re.MULTILINE)
_ITEM = re.compile(r"^ {4}(\S[^:]*): ", flags=re.MULTILINE)
#: What `hf_localize` has beside functions and classes.
_VALUES = {
    "DATASETS_STORE_PATH": "The local store, a `Path`. It is looked up each time: a setting may change."
}


def error_classes() -> dict[str, type[errors.HfLocalizeError]]:
    """Return the errors that are raised, by name."""
    return {
        name: item
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.HfLocalizeError)
    }


def with_error_docstrings(text: str) -> str:
    """Return the page of errors with what errors.py says of each below its heading."""
    classes = error_classes()

    def described(found: re.Match[str]) -> str:
        if found[1] not in classes:
            return found[0]
        kind = classes[found[1]]
        hidden = (Exception, BaseException, object, errors.HfLocalizeError)
        caught = [f"`{base.__name__}`" for base in kind.__mro__[1:] if base not in hidden]
        also = f" Also caught as {', '.join(caught)}." if caught else ""
        return f"{found[0]}\n\n{_prose(inspect.getdoc(kind) or '')}{also}\n\n**What to do**"

    return re.sub(r"^### (\w+)$", described, text, flags=re.MULTILINE)


def command_line_page() -> str:
    """Return the page of the command line: what ``--help`` says of each command."""
    context = click.Context(main, info_name="hg-localize", max_content_width=100)
    parts = [
        "# Command line\n\nWhat `--help` says. Settings: [the variables](settings.md).\n",
        _help(context),
    ]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        parts += [f"## {name}\n", _help(click.Context(command, parent=context, info_name=name))]
    return "\n".join(parts)


def api_page() -> str:
    """Return the page of the Python API: every public name, its signature and its docstring."""
    parts = [
        "# Python API\n\nThe names of `hf_localize`. Importing it loads neither `datasets` nor `boto3`.\n"
    ]
    for name in hf_localize.__all__:
        parts.append(f"## {name}\n")
        if name in _VALUES:
            parts.append(f"{_VALUES[name]}\n")
            continue
        item = getattr(hf_localize, name)
        if isinstance(item, type) and issubclass(item, Exception):
            parts.append(f"{_prose(inspect.getdoc(item) or '')} [All of them](errors.md).\n")
            continue
        parts += [f"```python\n{_signature(name, item)}\n```\n", _docstring(inspect.getdoc(item) or "")]
    return "\n".join(parts)


def _help(context: click.Context) -> str:
    return f"```text\n{context.command.get_help(context)}\n```\n"


def _signature(name: str, item: Any) -> str:
    found = inspect.signature(item)
    result = (
        ""
        if found.return_annotation is found.empty or isinstance(item, type)
        else f" -> {found.return_annotation}"
    )
    parameters = []
    is_marked = False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_marked:
            parameters.append("*")
            is_marked = True
        parameters.append(str(parameter).replace("'", ""))
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parameters) + f"){result}"


def _docstring(text: str) -> str:
    """Return a docstring of Google's style as Markdown."""
    head, *sections = _SECTION.split(text)
    parts = [_prose(head)]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body, _, rest = _until_unindented(body)
        names = _ITEM.split(f"\n{body}" if not body.startswith("\n") else body)
        parts.append(f"**{ {'Args': 'Arguments'}.get(title, title) }**\n")
        if len(names) > 1 and title in ("Args", "Raises"):
            items = zip(names[1::2], names[2::2], strict=True)
            parts.append("\n".join(f"- `{name}`: {_prose(_joined(said))}" for name, said in items))
        else:
            parts.append(_prose(_joined(body)))
        if rest.strip():
            parts.append(_prose(inspect.cleandoc(rest)))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _until_unindented(body: str) -> tuple[str, str, str]:
    """Divide what is indented, which belongs to a section, from what follows it."""
    lines = body.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip() and not line.startswith(" "):
            return "".join(lines[:number]), "", "".join(lines[number:])
    return body, "", ""


def _joined(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> str:
    """Return a docstring's prose with Markdown's code and links in place of reStructuredText's."""
    text = re.sub(r":(?:func|class):`~?(?:\w+\.)*(\w+)`", _linked, text)
    return re.sub(r"``(.+?)``", r"`\1`", text).strip()


def _linked(found: re.Match[str]) -> str:
    name = found[1]
    return f"[{name}](#{name.lower()})" if name in hf_localize.__all__ else f"`{name}`"
