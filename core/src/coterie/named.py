"""What a path such as `package.module:name` names: importing it runs code, so paths come from people, not from data."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from coterie.errors import Misuse

__all__ = ["import_named"]


def import_named(path: str, what: str, *, file: Path | None = None) -> Any:
    """Import the module and return what it calls by that name. file: the document that says so, if one does.

    Raises:
        Misuse: it is no such path, cannot be imported, or names nothing.
    """
    module_name, colon, attribute = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not colon or not module_name or not attribute:
        raise Misuse(f"the {what} path {path!r} is not 'package.module:name'; write the module, a colon, the name")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        advice = (
            "install it where this runs"
            if file is None
            else f"modules are looked up from the current folder (sys.path), not beside {str(file)!r}: "
            f"run it from the folder of {module_name.partition('.')[0]!r}, or install it"
        )
        raise Misuse(f"cannot import {module_name!r} for the {what} {path!r}: {error}; {advice}") from error
    # Whatever else the module does when it is loaded; the cause is kept, with its traceback.
    except Exception as error:
        raise Misuse(f"cannot load {path!r}: {type(error).__name__}: {error}; mend the module") from error
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise Misuse(f"{module_name!r} has no {attribute!r}; correct the {what} path {path!r}")
        found = getattr(found, step)
    return found
