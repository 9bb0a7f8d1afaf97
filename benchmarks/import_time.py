"""What `import coterie` costs beyond pydantic's own import: the best of several fresh interpreters each.

    make bench

Exits with 1 above the budget of 50 ms, or when the import pulls in what it must not.
"""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 9
BUDGET_MS = 50.0
FORBIDDEN = (
    *("airflow", "prefect", "redis", "httpx", "requests", "aiohttp", "urllib3"),
    *("fsspec", "upath", "yaml", "pydantic_ai", "opentelemetry.sdk"),
)

_TIMED = "import time, sys; began = time.perf_counter(); {statement}; print((time.perf_counter() - began) * 1e3)"
_LOADED = "import sys; from coterie import *; print(*sorted(sys.modules))"


def main() -> int:
    """Measure, print, judge."""
    pydantic = best_ms("import pydantic; pydantic.TypeAdapter")
    both = best_ms("import pydantic; pydantic.TypeAdapter; import coterie")
    alone = best_ms("import coterie")
    every = best_ms("import pydantic, asyncio; pydantic.TypeAdapter; from coterie import *")
    loaded = _python(_LOADED).split()
    found = [name for name in loaded if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN)]
    print(f"import pydantic                        {pydantic:7.1f} ms")
    print(f"import coterie                         {alone:7.1f} ms")
    print(f"import coterie, beyond pydantic        {both - pydantic:7.1f} ms (budget {BUDGET_MS:.0f})")
    print(f"every public name, beyond pydantic     {every - pydantic:7.1f} ms (asyncio included; no budget)")
    print(f"forbidden modules loaded: {', '.join(found) or 'none'}")
    return 1 if found or alone > BUDGET_MS or both - pydantic > BUDGET_MS else 0


def best_ms(statement: str) -> float:
    """The fastest of several fresh interpreters, in milliseconds."""
    return min(float(_python(_TIMED.format(statement=statement))) for _ in range(ROUNDS))


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
