"""What the data of events of some types must be: checked where they are sent, and where they are received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie._json import JsonValue
from coterie.bus.names import full_type
from coterie.errors import MalformedEvent, PolicyError

__all__ = ["DataTypes"]


class DataTypes:
    """Types of data by type of event: whatever Pydantic can check, such as its models, dataclasses and TypedDicts.

    Types of events that are not named may have any data.

    Raises:
        PolicyError: one is no type that Pydantic knows.
    """

    def __init__(self, types: Mapping[str, Any]) -> None:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            self._adapters = {full_type(name): TypeAdapter(kind) for name, kind in types.items()}
        except PydanticUserError as error:
            raise PolicyError(f"data cannot be checked against one of {list(types)}: {error}") from error

    def check(self, type_: str, data: JsonValue) -> None:
        """See that data are what the type of the event asks for.

        Raises:
            MalformedEvent: names what is wrong, and shows nothing of the data.
        """
        from pydantic import ValidationError

        adapter = self._adapters.get(type_)
        if adapter is None:
            return
        try:
            adapter.validate_python(data)
        except ValidationError as error:
            told = "; ".join(
                f"{'/'.join(map(str, one['loc'])) or 'data'}: {one['msg']}"
                for one in error.errors(include_input=False, include_url=False, include_context=False)[:5]
            )
            raise MalformedEvent(f"an event {type_!r} has data that its type does not allow: {told[:800]}") from None
        # A validator of the user's own may raise anything. Handled by who publishes; a consumer makes it a dead letter.
        except Exception as error:
            raise MalformedEvent(
                f"the data of an event {type_!r} could not be checked: {type(error).__name__}; mend its type"
            ) from error
