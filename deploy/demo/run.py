"""Review one code base three times: in this process, on a real Airflow scheduler, on a real Prefect server.

    make demo
    make demo REPO=path-or-git-url

Each engine starts with empty state and an empty artifact store, on free ports, and is stopped at the end, also by
Ctrl-C. The three reports must be the same, byte for byte: the exit code is 1 if they are not.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.demo.code_base import DEFAULT, fetch_default
from deploy.demo.in_process import review_in_process
from deploy.demo.on_airflow import review_on_airflow
from deploy.demo.on_prefect import review_on_prefect
from deploy.demo.outcome import Outcome
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]

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
    # A supervisor's stop is handled like Ctrl-C: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    console = Console(highlight=False, soft_wrap=True)
    # Piped into a file there is no width to respect; the table needs this much.
    console.width = max(console.width, 100)
    try:
        with tempfile.TemporaryDirectory(prefix="coterie-demo-") as work:
            return _demonstrate(options, Path(work), console)
    except KeyboardInterrupt:
        console.print("stopped; everything that was started has ended")
        return 130
    except RuntimeError as error:
        console.print(f"error: {error}", markup=False)
        return 1


def _demonstrate(options: argparse.Namespace, work: Path, console: Console) -> int:
    source = _source(options, work)
    console.print(f"reviewing {options.repo or DEFAULT}, three times", markup=False)
    outcomes = [
        review_in_process(
            source, state=work / "in-process", output=options.output / "in-process", say=_speaker("in-process", console)
        ),
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


def _source(options: argparse.Namespace, work: Path) -> str:
    if options.repo is None:
        return str(fetch_default(options.uv, str(options.airflow_python), work / "source"))
    return options.repo if "://" in options.repo else str(Path(options.repo).resolve())


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
    statuses = [one.status_document for one in outcomes]
    same_status = all(status == statuses[0] for status in statuses)
    console.print(
        f"the {len(outcomes)} reports are equal: SHA-256 {digests.copy().pop()}"
        if len(digests) == 1
        else f"the reports differ: {len(digests)} digests",
        markup=False,
        soft_wrap=True,
    )
    console.print("the run-status documents are equal" if same_status else "the run-status documents differ")
    console.print(f"report: {outcomes[0].html}", markup=False, soft_wrap=True)
    return 0 if len(digests) == 1 and same_status else 1


if __name__ == "__main__":
    sys.exit(main())
