"""What a machine carries from state to state, found where it lies, for the input of an action."""

from __future__ import annotations

from collections.abc import Mapping

from coterie._json import JsonValue
from coterie._rules.machine_input import fill_input, references
from coterie._rules.machine_record import Head
from coterie.artifacts import ArtifactStore
from coterie.errors import Misuse
from coterie.machine_run.file import MachineFile, error_value
from coterie.ref import Ref, parsed
from coterie.result import output_from_dict
from coterie.state import Action

__all__ = ["action_input", "loaded"]


async def action_input(
    file: MachineFile,
    head: Head,
    action: Action,
    params: Mapping[str, JsonValue],
    artifacts: ArtifactStore | None,
) -> dict[str, JsonValue]:
    """The input of the action that a visit performs. Only what it refers to is read.

    Raises:
        Misuse: nothing lies where a reference without a default points.
        MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable: a store failed or disagrees.
    """
    asked = {tuple(reference.steps[:2]) for reference in references(dict(action.input))}
    data: dict[str, JsonValue] = {"visit": head.visits[head.state]}
    outputs: dict[str, JsonValue] = {}
    errors: dict[str, JsonValue] = {}
    for kind, state in sorted(pair for pair in asked if pair[0] in ("outputs", "errors")):
        number = (head.outputs if kind == "outputs" else head.errors).get(state)
        record = await file.action_record(state, number) if number is not None else None
        if record is None:
            continue
        if kind == "outputs":
            outputs[state] = await loaded(output_from_dict(record.result.get("output")), artifacts)
        else:
            errors[state] = error_value(record)
    if any(pair[0] == "event" for pair in asked) and head.event is not None:
        left = await file.visit(head.event)
        if left is not None:
            data["event"] = {"name": left.trigger, "payload": left.payload, "who": left.who}
    return fill_input(head.state, action.input, params, {**data, "outputs": outputs, "errors": errors})


async def loaded(output: JsonValue | Ref, artifacts: ArtifactStore | None) -> JsonValue:
    """The value behind an output.

    Raises:
        Misuse: it lies in an artifact store, and none is given.
    """
    if not isinstance(output, Ref):
        return output
    if output.is_inline:
        return parsed(output, output.inline_bytes())
    if artifacts is None:
        raise Misuse(f"an output lies at {output.uri[:200]!r}, and there is no artifact store here; give one")
    return await artifacts.load(output)
