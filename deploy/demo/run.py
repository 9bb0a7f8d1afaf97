"""Review one code base three times: in this process, on a real Airflow scheduler, on a real Prefect server.

    make demo
    make demo REPO=path-or-git-url

Each engine starts with empty state and an empty artifact store, on free ports, and is stopped at the end, also by
Ctrl-C. The reports of an earlier demo are removed first. The three reports must be the same, byte for byte: the exit
code is 1 if they are not, or if there is none. It is 2, and nothing has been started, for a code base that cannot be
reviewed as it was named.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.code_base import DEFAULT, fetch_default
from deploy.demo.in_process import review_in_process
from deploy.demo.on_airflow import review_on_airflow
from deploy.demo.on_prefect import review_on_prefect
from deploy.demo.outcome import Outcome, clear
from deploy.demo.process_group import hear_interrupts
from rich.console import Console
from rich.table import Table

from coterie.errors import CoterieError
from coterie.teams.code_review.errors import SourceError
from coterie.teams.code_review.location import Folder, read_source

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("in-process", "airflow", "prefect")

Say = Callable[[str], None]


def main() -> int:
    """Run the three, print the table, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", help=f"a folder or git URL to review (default: the package {DEFAULT})")
    parser.add_argument("--uv", default="uv", help="the uv to fetch the default package with")
    parser.add_argument("--airflow-python", type=Path, required=True, help="an interpreter with the Airflow provider")
    parser.add_argument("--prefect-python", type=Path, required=True, help="an interpreter with the Prefect blocks")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="where the reports go")
    options = parser.parse_args()
    hear_interrupts()
    # A supervisor's stop is handled like Ctrl-C: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console(highlight=False, soft_wrap=True)
    # Piped into a file there is no width to respect; the table needs this much.
    console.width = max(console.width, 100)
    try:
        repo = None if options.repo is None else _named(options.repo)
    except SourceError as error:
        _tell_error(error)
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="coterie-demo-") as work:
            return _demonstrate(options, repo, Path(work), console)
    except KeyboardInterrupt:
        console.print("stopped; everything that was started has ended")
        return 130
    except (RuntimeError, CoterieError) as error:
        _tell_error(error)
        return 1


@dataclass(frozen=True, slots=True)
class _Named:
    """A code base: what the engines are given, what people are shown."""

    source: str
    shown: str


def _named(repo: str) -> _Named:
    place = read_source(repo)
    # The engines' processes run elsewhere: a path must mean the same there.
    return _Named(str(place.path.resolve()), repo) if isinstance(place, Folder) else _Named(place.url, place.name)


def _demonstrate(options: argparse.Namespace, repo: _Named | None, work: Path, console: Console) -> int:
    if repo is None:
        fetched = fetch_default(options.uv, str(options.airflow_python), work / "source")
        repo = _Named(str(fetched), DEFAULT)
    source = repo.source
    # What an earlier demo left would stand beside the new reports if this one were interrupted.
    for engine in ENGINES:
        clear(options.output / engine)
    console.print(f"reviewing {repo.shown}, three times", markup=False)
    here = review_in_process(
        source, state=work / "in-process", output=options.output / "in-process", say=_speaker("in-process", console)
    )
    outcomes = [
        here,
        review_on_airflow(
            source,
            python=options.airflow_python,
            dags=ROOT / "dags",
            state=work / "airflow",
            output=options.output / "airflow",
            say=_speaker("Airflow", console),
        ),
        review_on_prefect(
            source,
            python=options.prefect_python,
            flows=ROOT / "flows",
            state=work / "prefect",
            output=options.output / "prefect",
            say=_speaker("Prefect", console),
        ),
    ]
    console.print(_table(outcomes))
    return _compare(outcomes, console)


def _speaker(engine: str, console: Console) -> Say:
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {engine:<10}  {text}", markup=False)

    return say


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="one team, one plan, three engines")
    for heading in ("engine", "status"):
        table.add_column(heading)
    for heading in ("tasks", "processes", "wall time", "findings"):
        table.add_column(heading, justify="right")
    table.add_column("digest")
    for one in outcomes:
        numbers = (str(one.tasks), str(one.processes), f"{one.wall_s:.0f} s", str(one.findings))
        table.add_row(one.engine, one.status, *numbers, one.digest[:16])
    return table


def _compare(outcomes: list[Outcome], console: Console) -> int:
    digests = {one.digest for one in outcomes}
    documents = [one.status_document for one in outcomes]
    same_status = len({one.status for one in outcomes}) == 1 and all(one == documents[0] for one in documents)
    console.print(
        f"the {len(outcomes)} reports are equal: SHA-256 {digests.copy().pop()}"
        if len(digests) == 1
        else f"the reports differ: {len(digests)} digests",
        markup=False,
        soft_wrap=True,
    )
    console.print("the run-status documents are equal" if same_status else "the run-status documents differ")
    if outcomes[0].status == "partial":
        for line in _reasons(documents[0]):
            console.print(f"partial: {line}", markup=False, soft_wrap=True)
    console.print(f"report: {outcomes[0].html}", markup=False, soft_wrap=True)
    return 0 if len(digests) == 1 and same_status else 1


def _reasons(document: Mapping[str, Any]) -> list[str]:
    """What became of each task that did not succeed."""
    return [
        f"{task['id']} {task['state']}: {' '.join(str(task.get('error', {}).get('message', 'no reason')).split())}"
        for task in document["tasks"]
        if task["state"] not in ("succeeded", "skipped")
    ]


def _tell_error(error: Exception) -> None:
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")


if __name__ == "__main__":
    sys.exit(main())
