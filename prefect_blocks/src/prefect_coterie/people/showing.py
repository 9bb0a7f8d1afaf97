"""What the server keeps of a question while it waits for a person: the form, its text, and what was filled in.

A server of Prefect 3.9 or newer takes form and text away at the moment in which the flow run begins to wait, as those
of an earlier attempt; one before it keeps them. So they are written before, and once more after. In between the server
refuses an answer ("Run input schema not found"), so that whoever gave it knows, and gives it again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from httpx import HTTPStatusError, codes
from prefect.client.orchestration import PrefectClient
from prefect.input import RunInput, keyset_from_base_key

from coterie import JsonValue

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, FlowRunInput, State

__all__ = ["KEY_PREFIX", "Question", "about_of", "has_form", "response_of", "show", "show_again"]

# Of the names of all forms.
KEY_PREFIX = "coterie-"


class Question(NamedTuple):
    """What a person is shown: the fields, and a text in Markdown.

    line: what is asked, in one line of the log. about: what `wake_suspended` is told of it.
    """

    form: type[RunInput]
    text: str
    line: str
    about: Mapping[str, JsonValue]


async def show(client: PrefectClient, run_id: UUID, name: str, question: Question) -> None:
    """Have the server know a question, before the flow run waits for its answer."""
    keys = keyset_from_base_key(name)
    for key, value in ((_about_key(name), question.about), (keys["description"], question.text)):
        await _put(client, run_id, key, partial(client.create_flow_run_input, run_id, key, json.dumps(value)))
    await _put(client, run_id, keys["schema"], partial(question.form.asave, keys, run_id))


async def show_again(client: PrefectClient, run_id: UUID, name: str, question: Question) -> None:
    """Give the server back what it took away when the flow run began to wait; nothing where it kept it."""
    keys = keyset_from_base_key(name)
    text = json.dumps(question.text)
    await _unless_there(partial(client.create_flow_run_input, run_id, keys["description"], text))
    # Last: from now on it can be answered.
    await _unless_there(partial(question.form.asave, keys, run_id))


async def response_of(client: PrefectClient, run_id: UUID, name: str) -> FlowRunInput | None:
    """What was filled in, if anything was."""
    found = await client.filter_flow_run_input(run_id, f"{name}-response", 1, set())
    return found[0] if found else None


async def about_of(client: PrefectClient, run: FlowRun) -> dict[str, Any] | None:
    """What a waiting flow run says of its question; None if it is none of coterie's."""
    schema = _schema_key(run.state)
    if not schema.startswith(KEY_PREFIX):
        return None
    text = await _read(client, run.id, _about_key(schema.removesuffix("-schema")))
    if text is None:
        return None
    found: dict[str, Any] = json.loads(text)
    return found


async def has_form(client: PrefectClient, run: FlowRun) -> bool:
    """Whether a flow run that waits can be answered: not if its process was lost before it had shown the form again."""
    return await _read(client, run.id, _schema_key(run.state)) is not None


def _schema_key(state: State[Any] | None) -> str:
    keyset = state.state_details.run_input_keyset if state is not None else None
    return (keyset or {}).get("schema", "")


async def _read(client: PrefectClient, run_id: UUID, key: str) -> str | None:
    try:
        return await client.read_flow_run_input(run_id, key)
    except HTTPStatusError as error:
        if error.response.status_code == codes.NOT_FOUND:
            return None
        raise


async def _put(client: PrefectClient, run_id: UUID, key: str, write: Callable[[], Awaitable[None]]) -> None:
    if not await _unless_there(write):
        # Of whoever showed the same question before, and was lost, or woken.
        await client.delete_flow_run_input(run_id, key)
        await write()


async def _unless_there(write: Callable[[], Awaitable[None]]) -> bool:
    """Whether it was written; not if something is there."""
    try:
        await write()
    except HTTPStatusError as error:
        if error.response.status_code != codes.CONFLICT:
            raise
        return False
    return True


def _about_key(name: str) -> str:
    return f"{name}-about"
