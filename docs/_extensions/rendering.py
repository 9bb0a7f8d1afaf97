"""Writes what is public as MyST Markdown: one directive of Sphinx's Python domain for each thing and member."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import griffe
from class_members import attributes, field_argument, is_error, maker, members
from docstring import to_markdown
from public_api import Api, Entry

__all__ = ["render"]

_KINDS = griffe.ParameterKind
_LONGEST_ALIAS = 80


def render(api: Api, entry: Entry) -> str:
    """The Markdown of one entry with its members."""
    subject = entry.subject
    if isinstance(subject, griffe.Class):
        lines = _class(api, entry.name, subject)
    elif isinstance(subject, griffe.Function):
        lines = _function(api, entry.name, subject, "function", depth=1)
    elif isinstance(subject, griffe.Attribute):
        lines = _attribute(api, entry.name, subject, "data", depth=1)
    else:
        lines = _directive("module", entry.name, {}, _text(subject, []), depth=1)
    return "\n".join(lines)


def _class(api: Api, name: str, subject: griffe.Class) -> Iterator[str]:
    """A class: its arguments, its bases, its docstring, its members."""
    kind = "exception" if is_error(api, subject) else "class"
    made_by = maker(subject)
    arguments = list(made_by.parameters)[1:] if made_by is not None else []
    signature = name + (_arguments(api, arguments) if arguments else "")
    described = [argument.name.lstrip("*") for argument in arguments]
    body = [_bases(api, subject), _text(subject, [*described, *(field.name for field in attributes(subject))])]
    if made_by is not None and made_by.docstring is not None and "dataclass" not in subject.labels:
        body.append(_text(made_by, described))
    inside = [line for member in members(api, subject) for line in ["", *_member(api, name, subject, member)]]
    options = {"canonical": subject.path} if subject.path != name else {}
    yield from _directive(kind, signature, options, "\n\n".join(filter(None, body)), depth=2, inside=inside)


def _member(api: Api, owner: str, holder: griffe.Class, member: griffe.Object) -> Iterator[str]:
    name = f"{owner}.{member.name}"
    if isinstance(member, griffe.Function):
        overloads = holder.overloads.get(member.name) or []
        for one in overloads[:-1]:
            yield from _function(api, name, one, "method", depth=1, silent=True)
            yield ""
        yield from _function(api, name, member, "method", depth=1, shape=overloads[-1] if overloads else None)
    elif isinstance(member, griffe.Attribute):
        yield from _attribute(api, name, member, "property" if "property" in member.labels else "attribute", depth=1)


def _function(
    api: Api,
    name: str,
    subject: griffe.Function,
    kind: str,
    *,
    depth: int,
    silent: bool = False,
    shape: griffe.Function | None = None,
) -> Iterator[str]:
    """A function. `shape` has the signature if it is another's, `silent` leaves out the docstring and the entry."""
    shown = shape or subject
    arguments = list(shown.parameters)
    if kind == "method" and "staticmethod" not in subject.labels:
        arguments = arguments[1:]
    returns = f" -> {_annotation(api, shown.returns)}" if shown.returns is not None else ""
    labels = {str(label) for label in subject.labels} & {"async", "classmethod", "staticmethod"}
    options = dict.fromkeys(sorted(labels), "")
    if silent:
        options["no-index"] = ""
    elif kind == "function" and subject.path != name:
        options["canonical"] = subject.path
    text = "" if silent else _text(subject, [parameter.name.lstrip("*") for parameter in arguments])
    yield from _directive(kind, f"{name}{_arguments(api, arguments)}{returns}", options, text, depth=depth)


def _attribute(api: Api, name: str, subject: griffe.Attribute, kind: str, *, depth: int) -> Iterator[str]:
    options = {}
    if subject.annotation is not None and "TypeAlias" not in str(subject.annotation):
        options["type"] = _annotation(api, subject.annotation)
    value = _shown_value(api, subject)
    if kind != "property" and value:
        options["value"] = value
    if kind == "data" and subject.path != name:
        options["canonical"] = subject.path
    text = _text(subject, []) or _unquoted(field_argument(subject, "description"))
    yield from _directive(kind, name, options, text, depth=depth)


def _directive(
    kind: str, argument: str, options: dict[str, str], text: str, *, depth: int, inside: list[str] | None = None
) -> Iterator[str]:
    """A directive between fences of colons, more of them the more it holds."""
    fence = ":" * (2 + depth)
    yield f"{fence}{{py:{kind}}} {argument}"
    yield from (f":{key}: {value}".rstrip() for key, value in options.items())
    yield ""
    yield text
    yield from inside or []
    yield fence


def _text(subject: griffe.Object, names: list[str]) -> str:
    return to_markdown(subject.docstring.value, names) if subject.docstring is not None else ""


def _bases(api: Api, subject: griffe.Class) -> str:
    shown = [
        name for name in (_annotation(api, base) for base in subject.bases) if not name.startswith(("_", "Generic"))
    ]
    shown = [name for name in shown if name not in ("object", "ABC")]
    return (
        "Bases: " + ", ".join(f"`{name.rpartition('.')[2] if '[' not in name else name}`" for name in shown)
        if shown
        else ""
    )


# Signatures.


def _arguments(api: Api, parameters: list[griffe.Parameter]) -> str:
    parts: list[str] = []
    named = False
    for at, parameter in enumerate(parameters):
        if parameter.kind is _KINDS.keyword_only and not named:
            named = True
            parts.append("*")
        named = named or parameter.kind is _KINDS.var_positional
        parts.append(_argument(api, parameter))
        following = parameters[at + 1].kind if at + 1 < len(parameters) else None
        if parameter.kind is _KINDS.positional_only and following is not _KINDS.positional_only:
            parts.append("/")
    return f"({', '.join(parts)})"


def _argument(api: Api, parameter: griffe.Parameter) -> str:
    stars = "*" if parameter.kind is _KINDS.var_positional else "**" if parameter.kind is _KINDS.var_keyword else ""
    text = stars + parameter.name.lstrip("*")
    if parameter.annotation is not None and not str(parameter.annotation).endswith((".args", ".kwargs")):
        text += f": {_annotation(api, parameter.annotation)}"
    if parameter.default is not None and not stars:
        text += f" = {_default(parameter.default)}"
    return text


def _default(value: str | griffe.Expr) -> str:
    """A default as people read it: that of a factory is what it makes, one that only we can name is `...`."""
    text = " ".join(str(value).split())
    made = {"dict()": "{}", "list()": "[]", "tuple()": "()"}.get(text, text)
    return "..." if made.startswith("_") or "default_factory" in made or "lambda" in made else made


def _annotation(api: Api, annotation: str | griffe.Expr | None) -> str:
    """A type. Public ones by the name to import them by; what is only a short name for others, as those."""
    if annotation is None or isinstance(annotation, str):
        return annotation or ""
    if isinstance(annotation, (griffe.ExprAttribute, griffe.ExprName)):
        return _name(api, annotation)
    return "".join(
        piece if isinstance(piece, str) else _annotation(api, piece) for piece in annotation.iterate(flat=False)
    )


def _name(api: Api, name: griffe.ExprName | griffe.ExprAttribute) -> str:
    subject = api.find(name.canonical_path)
    if subject is None:
        return name.canonical_path
    entry = api.by_definition.get(subject.path)
    if entry is not None:
        return entry.name
    value = subject.value if isinstance(subject, griffe.Attribute) else None
    if isinstance(value, (griffe.ExprSubscript, griffe.ExprBinOp)) and len(str(value)) <= _LONGEST_ALIAS:
        return _annotation(api, value)
    return subject.path


def _shown_value(api: Api, subject: griffe.Attribute) -> str:
    """What is worth showing of an attribute's value: numbers, texts, aliases of types, a field's default; no calls."""
    value = field_argument(subject, "default") or subject.value
    if value is None or "(" in str(value) or len(str(value)) > 200:
        return ""
    return _annotation(api, value) if not isinstance(value, str) else value


def _unquoted(value: griffe.Expr | str | None) -> str:
    try:
        return str(ast.literal_eval(str(value))) if value is not None else ""
    except (SyntaxError, ValueError):
        return ""
