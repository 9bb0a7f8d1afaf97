"""Executes Python blocks in one namespace, as they come; started with the interpreter of any environment.

Reads one JSON object a line, `{"path": …}`, from standard input and answers with one: what the code in that file
printed, and the traceback if it raised.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

__all__: list[str] = []


def _serve() -> None:
    # Whatever else writes to standard output must not look like an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[0] = str(Path.cwd())
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line in sys.stdin:
        path = json.loads(line)["path"]
        namespace["__file__"] = path
        printed, error = io.StringIO(), None
        try:
            code = compile(Path(path).read_text("utf-8"), path, "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
        # The block is told as having failed, whatever it raised.
        except BaseException:  # noqa: BLE001
            error = traceback.format_exc()
        answers.write(json.dumps({"printed": printed.getvalue(), "error": error}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
