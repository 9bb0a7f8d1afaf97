"""`coterie doctor`: a line a finding, and what to do below it; or one JSON document."""

from __future__ import annotations

import asyncio
from collections import Counter

from coterie.cli.doctor.examining import examine
from coterie.cli.doctor.finding import Finding, State
from coterie.cli.doctor.place import Place
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.markdown import harmless

__all__ = ["doctor_command"]

_WORDS: dict[State, str] = {"fault": "at fault", "warning": "to look at", "ok": "ok", "skipped": "skipped"}
_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}


def doctor_command(place: Place, *, as_json: bool) -> int:
    """Look at everything, say what was found, and return the exit code: 1 if anything is at fault."""
    found = asyncio.run(examine(place))
    code = 1 if any(finding.state == "fault" for _, finding in found) else 0
    if as_json:
        checks = [_document(name, finding) for name, finding in found]
        write_json({"checks": checks, "healthy": code == 0, "exit_code": code})
    else:
        _tell(found)
    return code


def _document(name: str, finding: Finding) -> dict[str, str | None]:
    return {"check": name, "state": finding.state, "found": finding.found, "remedy": finding.remedy or None}


def _tell(found: list[tuple[str, Finding]]) -> None:
    from rich.text import Text

    console = output_console()
    width = max(len(name) for name, _ in found)
    for name, finding in found:
        line = Text(f"{finding.state:<8}", style=_STYLES[finding.state])
        line.append(f" {name:<{width}}  {harmless(finding.found)}", style="")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<{width + 11}}-> {harmless(finding.remedy)}"), soft_wrap=True)
    counts = Counter(finding.state for _, finding in found)
    told = [f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]]
    console.print(Text(", ".join(told)), soft_wrap=True)
