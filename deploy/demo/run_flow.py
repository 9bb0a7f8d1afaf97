"""Run the example flow once against the server that `PREFECT_API_URL` names; prints one JSON line at the end.

Started by the demo with the interpreter that has Prefect.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys


async def main(flows: str, name: str, source: str) -> None:
    """Call the flow and print where its result lies."""
    sys.path.insert(0, flows)
    flow = getattr(importlib.import_module(name), name)
    state = await flow(source=source, return_state=True)
    data = await state.result(raise_on_failure=False)
    sys.stdout.write(json.dumps({"state": state.name, "data": data, "pid": os.getpid()}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
