"""Run an example flow with parameters of one's own; prints how it ended, as one line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any


def main(name: str, parameters: str) -> None:
    """Call the flow."""
    example = getattr(importlib.import_module(f"flows.{name}"), name)
    ending: Any = example(**json.loads(parameters), return_state=True)
    state = asyncio.run(ending) if asyncio.iscoroutine(ending) else ending
    value = state.result(raise_on_failure=False)
    failed = isinstance(value, BaseException)
    said = {"state": state.name, "message": state.message, "value": None if failed else value}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
