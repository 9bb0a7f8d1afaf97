"""What a command line names, found: plans, teams, parameters, the artifact store."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from coterie._json import JsonValue
from coterie.decompose.template import Template
from coterie.errors import CoterieError, Misuse
from coterie.machine import StateMachine
from coterie.plan import Plan
from coterie.team import Team

__all__ = ["artifacts_place", "artifacts_url", "load_machine", "load_plan", "load_team", "parse_params", "read_plan"]

T = TypeVar("T")

_PLAN_FILES = (".yaml", ".yml", ".json")


def load_plan(path: str, params: Mapping[str, JsonValue]) -> tuple[Plan, Mapping[str, JsonValue]]:
    """A plan, and the parameters that its run still takes: a function that makes plans has used them up.

    Raises:
        PlanError, Misuse: nothing is there, it is no plan, or the parameters do not fit the function.
    """
    if path.endswith(".py"):
        raise Misuse(f"{path!r} is a Python file; name the plan in it: {_module_in(path)}:plan")
    if path.endswith(_PLAN_FILES) or Path(path).is_file():
        return Plan.from_file(path), params
    found = _import(path)
    if isinstance(found, Plan):
        return found, params
    if not callable(found):
        raise Misuse(f"{path!r} is a {type(found).__name__}, not a Plan; name a Plan or a function that makes one")
    return Template(path, found).build(params), {}


def read_plan(path: str) -> Plan:
    """A plan to look at; a function that makes plans is called without parameters."""
    return load_plan(path, {})[0]


def load_machine(path: str) -> StateMachine:
    """A state machine from a file, or by `package.module:name`.

    Raises:
        MachineError, Misuse: nothing is there, or it is no state machine.
    """
    if path.endswith(".py"):
        raise Misuse(f"{path!r} is a Python file; name the machine in it: {_module_in(path)}:machine")
    if path.endswith(_PLAN_FILES) or Path(path).is_file():
        return StateMachine.from_file(path)
    found = _import(path, what="machine")
    if not isinstance(found, StateMachine):
        raise Misuse(f"{path!r} is a {type(found).__name__}, not a StateMachine; name one")
    return found


def load_team(path: str) -> Team:
    """A team by `package.module:name` (the current folder counts), or from a YAML file.

    Raises:
        Misuse: there is nothing at the path, it is no team, or its module cannot be imported.
    """
    if path.endswith(".py"):
        raise Misuse(f"{path!r} is a Python file; name the team in it: {_module_in(path)}:team")
    _see_current_folder()
    return _importing(path, lambda: Team.load(path))


def parse_params(texts: Sequence[str]) -> dict[str, JsonValue]:
    """`name=value` pairs; a value is JSON where it can be read so, else text.

    Raises:
        Misuse: no `=`, no name, or a name given twice.
    """
    params: dict[str, JsonValue] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in params:
            why = "given twice" if name in params else "not NAME=VALUE"
            raise Misuse(f"the parameter {text!r} is {why}; write --param NAME=VALUE, once for each name")
        params[name] = _json_or_text(value)
    return params


def artifacts_url(given: str | None) -> str:
    """Where outputs go: as given, else `COTERIE_ARTIFACTS`, else a folder for this user.

    The folder is `artifacts` in `COTERIE_HOME`, else in the platform's cache for `coterie`; a temporary one where
    neither can be written.
    """
    if given or os.environ.get("COTERIE_ARTIFACTS"):
        return artifacts_place(given)
    home, folder = os.environ.get("COTERIE_HOME"), _artifacts_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if home:
            raise Misuse(
                f"cannot keep artifacts in {str(folder)!r}: {error.strerror}; set COTERIE_HOME to a folder "
                "that can be written"
            ) from error
    if os.access(folder, os.W_OK | os.X_OK):
        return _url_of(folder)
    return _url_of(Path(tempfile.mkdtemp(prefix="coterie-artifacts-")))


def artifacts_place(given: str | None) -> str:
    """The same, without making the folder, and without a temporary one in its place."""
    url = given or os.environ.get("COTERIE_ARTIFACTS")
    if url:
        return url if "://" in url else _url_of(_folder(url))
    return _url_of(_artifacts_folder())


def _artifacts_folder() -> Path:
    home = os.environ.get("COTERIE_HOME")
    return (_folder(home) if home else _cache()) / "artifacts"


def _folder(text: str) -> Path:
    # As a shell reads it: a `~` that nobody's home is known for stays.
    return Path(os.path.expanduser(text)).resolve()  # noqa: PTH111


def _url_of(folder: Path) -> str:
    # Not `as_uri()`, which escapes: a store takes the path as it is written.
    return f"file://{folder}"


def _cache() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        # Nobody's home is known, as for some service users: the caller finds that this cannot be written.
        home = Path("/nonexistent")
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "coterie"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache").absolute() / "coterie"


def _import(path: str, *, what: str = "plan") -> Any:
    module_name, colon, attribute = path.partition(":")
    if not colon or not module_name or not attribute or "/" in path:
        raise Misuse(f"there is no {what} file {path!r}; check the path, or write package.module:{what}")
    _see_current_folder()
    module = _importing(path, lambda: importlib.import_module(module_name))
    if not hasattr(module, attribute):
        raise Misuse(f"the module {module_name!r} has no {attribute!r}; correct the {what} path {path!r}")
    return getattr(module, attribute)


def _importing(path: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except CoterieError:
        raise
    # Importing runs the user's code, which may raise anything.
    except Exception as error:
        raise Misuse(
            f"cannot load {path!r}: {type(error).__name__}: {error}; correct it, or install what it needs"
        ) from error


def _module_in(path: str) -> str:
    """How a file below the current folder is imported; of one elsewhere, the last name."""
    parts = Path(path).with_suffix("").parts
    return ".".join(parts) if all(part.isidentifier() for part in parts) else parts[-1]


def _see_current_folder() -> None:
    # As `python -m` does: what lies in the current folder can be named.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _json_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
