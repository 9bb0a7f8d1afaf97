"""Plans by name: an objective chooses a template, the context gives its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from coterie._json import JsonValue
from coterie.agent import type_adapter
from coterie.decompose.matching import normalised, owners_of
from coterie.errors import Misuse, UnknownObjective
from coterie.plan import Plan
from coterie.team import Team

__all__ = ["Template", "TemplateDecomposer"]

F = TypeVar("F", bound=Callable[..., Plan])

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Template:
    """A function of named parameters that returns a plan.

    Raises:
        Misuse: a parameter that cannot be given by its name (`*args`, `**kwargs`, positional-only).
    """

    name: str
    function: Callable[..., Plan]
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for parameter in self.parameters.values():
            if parameter.kind not in _NAMED:
                raise Misuse(
                    f"the template {self.name!r} takes {str(parameter)!r}, which nobody can give by name; "
                    "name each of its parameters"
                )

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters by name."""
        return inspect.signature(self.function).parameters

    def build(self, params: Mapping[str, JsonValue]) -> Plan:
        """The plan for these parameters, each validated to its annotation by pydantic.

        Raises:
            Misuse: a parameter is unknown, missing or of the wrong type, or the function returned no plan.
        """
        self._check_names(params)
        types = _types(self.function)
        values = {name: self._value(name, types.get(name, Any), value) for name, value in params.items()}
        plan: object = self.function(**values)
        if not isinstance(plan, Plan):
            raise Misuse(f"the template {self.name!r} returned a {type(plan).__name__}; let it return a Plan")
        return plan

    def _check_names(self, params: Mapping[str, JsonValue]) -> None:
        known = self.parameters
        takes = ", ".join(known) or "none"
        for name in params:
            if name not in known:
                raise Misuse(f"the template {self.name!r} has no parameter {name!r}; it takes: {takes}")
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in params:
                raise Misuse(f"the template {self.name!r} needs the parameter {name!r}; it takes: {takes}")

    def _value(self, name: str, wanted: Any, value: JsonValue) -> object:
        from pydantic import ValidationError

        if wanted is Any:
            return value
        try:
            validated: object = type_adapter(wanted).validate_python(value)
        except ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise Misuse(
                f"the parameter {name!r} of the template {self.name!r} is {value!r}: {said}; correct the context"
            ) from error
        return validated


class TemplateDecomposer:
    """Chooses among named templates; the context is the template's parameters.

    Choosing is deterministic: first the same words as a name or alias (case and punctuation aside), then the
    phrases whose words all occur in the objective, of which the longest must belong to one template.
    """

    def __init__(self, templates: Iterable[Template] = ()) -> None:
        self._templates: dict[str, Template] = {}
        self._phrases: dict[str, str] = {}
        for template in templates:
            self.add(template)

    @property
    def templates(self) -> tuple[Template, ...]:
        """The templates, in the order of registration."""
        return tuple(self._templates.values())

    def template(self, name: str, *, aliases: Iterable[str] = ()) -> Callable[[F], F]:
        """Decorate a function of named parameters that returns a plan."""

        def register(function: F) -> F:
            self.add(Template(name, function, tuple(aliases)))
            return function

        return register

    def add(self, template: Template) -> None:
        """Add a template.

        Raises:
            Misuse: its name or an alias holds no word, or already means another template.
        """
        phrases = [normalised(phrase) for phrase in (template.name, *template.aliases)]
        for phrase in phrases:
            owner = self._phrases.get(phrase)
            if not phrase or owner is not None:
                why = f"already means the template {owner!r}" if owner else "holds no word"
                raise Misuse(f"the phrase {phrase!r} of the template {template.name!r} {why}; choose another")
        self._templates[template.name] = template
        self._phrases.update(dict.fromkeys(phrases, template.name))

    def choose(self, objective: str) -> Template:
        """The template that `objective` means.

        Raises:
            UnknownObjective: none, or more than one equally well; lists them.
        """
        found = owners_of(objective, self._phrases)
        if len(found) != 1:
            raise UnknownObjective(objective, self._templates, candidates=found)
        return self._templates[found[0]]

    async def decompose(self, objective: str, context: Mapping[str, JsonValue], *, team: Team) -> Plan:
        """The plan of the template that `objective` means, with `context` as its parameters.

        Raises:
            UnknownObjective: no template, or several. Misuse: the parameters do not fit it.
            UnknownAgentType: the team cannot run the plan.
        """
        plan = self.choose(objective).build(context)
        team.check(plan)
        return plan


def _types(function: Callable[..., Plan]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        # A name that only a type checker sees: the values are taken as they are.
        return {}
