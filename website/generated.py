"""Pages that are made from the code: the command line, the Python API, and what each error is."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import click

import hf_localize
from hf_localize import errors
from hf_localize.cli import FAMILIES, main

_SECTION = re.compile(r"^(Args|Example|Returns|Yields|Raises):$", flags=re.MULTILINE)
#: A field of a class, after the comment that describes it.
_FIELD = re.compile(r"((?:^    #: .*\n)*)^    (\w+): ([^=\n]+?)(?: = .*)?$", flags=re.MULTILINE)
_ITEM = re.compile(r"^ {4}(\S[^:]*): ", flags=re.MULTILINE)
#: What the public functions of each module are for.
GROUPS = {
    "Activate": ("shim.patch",),
    "Get and load": ("api.datasets", "api.batch", "api.repositories", "api.archive"),
    "Show": ("api.listing", "api.inspect", "api.preview", "api.compare", "api.doctor", "api.scan"),
    "Maintain": ("api.upkeep", "api.lock"),
    "Catalog": ("catalog.catalog",),
}
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
    """Return the page of the command line: what ``--help`` says of each command, to be read at any width."""
    context = click.Context(main, info_name="hg-localize")
    parts = [
        "# Command line\n\nWhat `--help` says. Settings: [the variables](settings.md).\n",
        _help(context),
        "Commands:\n",
        *(
            f"- {title}: {', '.join(f'[{name}](#{name})' for name in names)}"
            for title, names in FAMILIES.items()
        ),
        f"\n{_escaped(main.epilog or '')}",
    ]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        parts += [f"\n## {name}\n", _help(click.Context(command, parent=context, info_name=name))]
    return "\n".join(parts)


def api_page() -> str:
    """Return the page of the Python API: every public name by what it is for, and what functions return.

    Raises:
        ValueError: a module with public functions has no group here.
    """
    groups: dict[str, list[str]] = {title: [] for title in (*GROUPS, "Values and errors")}
    titles = {f"hf_localize.{module}": title for title, modules in GROUPS.items() for module in modules}
    for name in hf_localize._HOMES:
        if name.startswith("_"):
            continue
        item = getattr(hf_localize, name)
        title = titles.get(item.__module__) if inspect.isfunction(item) else "Values and errors"
        if title is None:
            raise ValueError(f"GROUPS of website/generated.py has no group for {item.__module__}")
        groups[title].append(name)
    parts = [
        "# Python API\n\nThe names of `hf_localize`. Importing it loads neither `datasets` nor `boto3`.\n"
    ]
    for title, names in groups.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += [f"### {name}\n", _described(name)]
    parts.append("## What functions return\n")
    for name, kind in sorted(_returned().items()):
        if name in hf_localize._HOMES:
            continue
        parts += [f"### {name}\n", _docstring(inspect.getdoc(kind) or ""), _fields(kind)]
    return "\n".join(parts)


def _described(name: str) -> str:
    if name in _VALUES:
        return f"{_VALUES[name]}\n"
    item = getattr(hf_localize, name)
    if isinstance(item, type):
        more = " [All of them](errors.md)." if issubclass(item, Exception) else ""
        return f"{_docstring(inspect.getdoc(item) or '').rstrip()}{more}\n\n{'' if more else _fields(item)}"
    told = f"```python\n{_signature(name, item)}\n```\n\n{_docstring(inspect.getdoc(item) or '')}"
    found = [kind for kind in _names_in(item) if kind in _returned()]
    return told + "".join(f"\nReturns: [{kind}](#{kind.lower()}).\n" for kind in found)


def _names_in(item: Any) -> list[str]:
    return re.findall(r"\w+", str(inspect.signature(item).return_annotation))


def _returned() -> dict[str, type]:
    """Return, by name, the classes of what functions return."""
    functions = [
        item for name in hf_localize._HOMES if inspect.isfunction(item := getattr(hf_localize, name))
    ]
    found: dict[str, type] = {}
    for item in functions:
        for name in _names_in(item):
            kind = getattr(inspect.getmodule(item), name, None)
            if isinstance(kind, type) and kind.__module__.startswith("hf_localize"):
                found[name] = kind
    for kind in list(found.values()):  # What is in their fields.
        for name in re.findall(r"\w+", " ".join(map(str, kind.__annotations__.values()))):
            inner = getattr(inspect.getmodule(kind), name, None)
            if dataclasses.is_dataclass(inner) and isinstance(inner, type):
                found[name] = inner
    return found


def _fields(kind: type) -> str:
    """Return the fields of a class, each with the comment before it, and its properties and methods."""
    bases = [base for base in reversed(kind.__mro__) if base is kind or "__dataclass_fields__" in vars(base)]
    source = "".join(map(inspect.getsource, bases))
    parts = [
        f"- `{name}: {told}`{': ' + _joined(comment.replace('#: ', '')) if comment else ''}"
        for comment, name, told in _FIELD.findall(source)
    ]
    own = {name: item for base in bases for name, item in vars(base).items() if not name.startswith("_")}
    for name, item in own.items():
        function = item.fget if isinstance(item, property) else item
        if inspect.isfunction(function) and inspect.getdoc(function):
            shown = name if isinstance(item, property) else f"{name}()"
            parts.append(
                f"- `{shown}`: {_prose(_joined((inspect.getdoc(function) or '').partition('Raises:')[0]))}"
            )
    return "\n".join(parts) + "\n"


def _help(context: click.Context) -> str:
    """Return the usage, the words and the options of a command."""
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    paragraphs = inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n")
    parts = [f"`{context.command_path} {usage}`", *map(_paragraph, paragraphs)]
    options = [
        record
        for param in command.get_params(context)
        if (record := param.get_help_record(context)) and record[1]
    ]
    parts.append("\n".join(f"- `{names}`  \n  {_escaped(told)}" for names, told in options))
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraph(text: str) -> str:
    lines = text.splitlines()
    if lines and re.match(r"Examples?:", lines[0]):
        label, _, first = text.partition(":")
        commands = [line.strip() for line in (first or "").splitlines() if line.strip()]
        return f"{label}:\n\n```console\n" + "".join(f"$ {line}\n" for line in commands) + "```"
    return _escaped(_joined(text))


def _escaped(text: str) -> str:
    """Return prose of a command's help as Markdown: what is a name there is code."""
    parts = re.split(r"(?<![\w/])(--?[a-z][\w-]*|\w+_[\w*]*=?)", text)
    return "".join(
        f"`{part}`" if number % 2 else part.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")
        for number, part in enumerate(parts)
    )


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
        elif title == "Example":
            parts.append(f"```pycon\n{inspect.cleandoc(body)}\n```")
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
    return f"[{name}](#{name.lower()})" if name in hf_localize._HOMES else f"`{name}`"
