"""Stored states that are not what they should be: an error that names them, whatever reading them raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from coterie.errors import CoterieError, StateFormatError

__all__ = ["reading"]


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Within, what a damaged state makes of its reader comes out as StateFormatError."""
    try:
        yield
    except CoterieError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise StateFormatError(
            f"the stored state {key!r} cannot be read ({error!r}); is the namespace ours alone?"
        ) from error
