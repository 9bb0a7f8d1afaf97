"""Prompts made from a task's input: `${name}` stands for a value; nothing in a prompt is code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from string import Template

from coterie._json import JsonValue
from coterie.errors import Misuse, PolicyError

__all__ = ["Prompt"]


class _Dotted(Template):
    braceidpattern = r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
    flags = re.ASCII


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text in which `${name}`, or `${outer.inner}`, stands for a field of the input, and `$$` for one dollar sign.

    A string is put in as it is, anything else as JSON. What was put in is not looked at again. Without a text the
    prompt is the whole input as JSON.

    Raises:
        PolicyError: a dollar sign that is neither.
    """

    text: str | None = None
    _template: _Dotted | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.text is not None and (not isinstance(self.text, str) or not _Dotted(self.text).is_valid()):
            raise PolicyError(
                f"the prompt {self.text!r:.200} has a '$' that names no field; write ${{field}}, or $$ for the sign"
            )
        object.__setattr__(self, "_template", None if self.text is None else _Dotted(self.text))

    def fill(self, task_input: dict[str, JsonValue]) -> str:
        """The prompt for this input.

        Raises:
            Misuse: the input has no such field.
        """
        if self._template is None:
            return json.dumps(task_input, ensure_ascii=False, indent=2)
        values = {name: _shown(_find(task_input, name)) for name in self._template.get_identifiers()}
        return self._template.substitute(values)


def _find(task_input: dict[str, JsonValue], path: str) -> JsonValue:
    value: JsonValue = task_input
    for step in path.split("."):
        if not isinstance(value, dict) or step not in value:
            known = ", ".join(sorted(task_input)) or "none"
            raise Misuse(f"the prompt asks for {path!r}, which the task's input does not have; its fields: {known}")
        value = value[step]
    return value


def _shown(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
