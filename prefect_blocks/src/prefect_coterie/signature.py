"""Make a function look as a flow made from a document must look: its parameters, and the variable that holds it."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from prefect.runtime import flow_run

from coterie.errors import Misuse

__all__ = ["FORCE", "RUN_ID", "check_names", "globals_of_caller", "pretend", "run_name"]

RUN_ID, FORCE = "coterie_run_id", "coterie_force"
# Pydantic, which checks the parameters, keeps some names for itself; `v__` begins those of its model of a function.
_RESERVED = frozenset({RUN_ID, FORCE, "return_state", "wait_for", "model_config"})
_RESERVED_BEGINNINGS = ("_", "v__")
_TYPES: dict[type, Any] = {bool: bool, int: int, float: float, str: str, list: list[Any], dict: dict[str, Any]}


def check_names(params: Mapping[str, Any], what: str) -> None:
    """Do nothing if these can be a flow's parameters.

    Raises:
        Misuse: one cannot. `what` has them.
    """
    for name in params:
        if not name.isidentifier() or keyword.iskeyword(name) or _is_reserved(name):
            raise Misuse(
                f"the parameter {name!r} of {what} cannot be a flow's parameter; "
                "rename it to a Python name that Prefect does not use"
            )


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS)


def pretend(run: Callable[..., Any], params: Mapping[str, Any], *, title: str, caller: dict[str, Any]) -> None:
    """Give the function a signature of `params`, and the place of the variable that will hold the flow.

    Prefect reads parameters from the signature, and finds a deployed flow by module, file and name.
    """
    parameters = [_parameter(name, default) for name, default in params.items()]
    parameters += [_parameter(name, None, str | None) for name in (RUN_ID, FORCE)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = run.__qualname__ = title.replace("-", "_")
    run.__module__ = caller.get("__name__", run.__module__)


def globals_of_caller(frame: FrameType | None) -> dict[str, Any]:
    """Those of the module that called the function of `frame`."""
    return frame.f_back.f_globals if frame is not None and frame.f_back is not None else {}


def run_name(title: str) -> Callable[[], str]:
    """What names the flow's runs: the identity that was given, else a part of Prefect's own."""

    def name() -> str:
        given = (flow_run.parameters or {}).get(RUN_ID)
        return f"{title}/{given or str(flow_run.id)[-12:]}"

    return name


def _parameter(name: str, default: Any, annotation: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation or _TYPES.get(type(default), Any))
