"""What of a class is shown: what its users call, and what its docstrings tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import griffe
from public_api import Api

__all__ = ["attributes", "field_argument", "is_error", "maker", "members"]

# Without a docstring, and yet part of how an operator is used.
_TELLING = ("template_fields",)
# What operators and sensors have from their bases is for Airflow to call.
_WITHOUT_INHERITED = "airflow_provider_coterie."


def members(api: Api, subject: griffe.Class) -> list[griffe.Function | griffe.Attribute]:
    """Its methods, properties and attributes: its own, and those of bases that nobody imports.

    Fields of a dataclass stand in its signature. Tests of a contract are what it is, not what one calls.
    """
    fields = {field.name for field in attributes(subject)} if "dataclass" in subject.labels else set()
    inherited = [] if subject.path.startswith(_WITHOUT_INHERITED) else _inherited(api, subject)
    return [
        member
        for member in [*_resolved(subject.members.values()), *inherited]
        if isinstance(member, (griffe.Function, griffe.Attribute)) and member.name not in fields and _is_told(member)
    ]


def attributes(subject: griffe.Class) -> list[griffe.Attribute]:
    """The fields of a dataclass or model: names with a type."""
    return [
        member
        for member in _resolved(subject.all_members.values())
        if isinstance(member, griffe.Attribute) and member.annotation is not None and "property" not in member.labels
    ]


def maker(subject: griffe.Class) -> griffe.Function | None:
    """What makes one of them, if our code says so."""
    found = subject.all_members.get("__init__")
    made = next(_resolved([found] if found is not None else []), None)
    return made if isinstance(made, griffe.Function) else None


def is_error(api: Api, subject: griffe.Class) -> bool:
    """Whether it belongs to the tree of errors."""
    root = api.find("coterie.CoterieError")
    return subject is root or root in subject.mro()


def field_argument(subject: griffe.Attribute, name: str) -> griffe.Expr | str | None:
    """What a model's field, `Field(...)`, is given under that name."""
    if isinstance(subject.value, griffe.ExprCall):
        for argument in subject.value.arguments:
            if isinstance(argument, griffe.ExprKeyword) and argument.name == name:
                return argument.value
    return None


def _inherited(api: Api, subject: griffe.Class) -> Iterator[griffe.Object]:
    """From bases that have no entry of their own."""
    aliases = [member for name, member in subject.inherited_members.items() if name not in subject.members]
    for member in _resolved(aliases):
        if member.parent is not None and member.parent.path not in api.by_definition:
            yield member


def _resolved(found: Iterable[griffe.Object | griffe.Alias]) -> Iterator[griffe.Object]:
    """The things behind names, without those that are not ours."""
    for member in found:
        try:
            yield member.final_target if isinstance(member, griffe.Alias) else member
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue


def _is_told(member: griffe.Function | griffe.Attribute) -> bool:
    if member.name.startswith(("_", "test_")) and member.name != "__call__":
        return False
    if isinstance(member, griffe.Function) and "fixture" in str([decorator.value for decorator in member.decorators]):
        return False
    described = isinstance(member, griffe.Attribute) and field_argument(member, "description") is not None
    return member.docstring is not None or described or member.name in _TELLING
