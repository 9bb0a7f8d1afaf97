"""The HTML report in a real browser: its script runs under its own policy, filters, and asks nobody for anything."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from coterie.teams.code_review.report import to_html
from tests.support.report_inputs import HOSTILE, finding, output, record, report, snapshot

pytestmark = pytest.mark.system

# Headless, as root in a container too, and without the browser's own traffic.
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
COMPLAINT = "CONSOLE"


class Page(HTMLParser):
    """What is left of the findings table, and what the status line says."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0
        self.hidden = 0
        self.status = ""
        self._in_status = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "tr" and "data-severity" in given:
            self.hidden += "hidden" in given
            self.shown += "hidden" not in given
        self._in_status = given.get("id") == "find-status"

    def handle_data(self, data: str) -> None:
        if self._in_status:
            self.status += data

    def handle_endtag(self, tag: str) -> None:
        self._in_status = False


def opened(path: Path, anchor: str = "") -> tuple[Page, list[str]]:
    """The page as the browser has it once its script has run, and what the browser complained of."""
    chromium = shutil.which("chromium") or "chromium"
    profile = path.parent / "profile"
    done = subprocess.run(
        [
            *(chromium, *QUIET, f"--user-data-dir={profile}", "--enable-logging=stderr", "--dump-dom"),
            f"{path.as_uri()}{anchor}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    page = Page()
    page.feed(done.stdout)
    return page, [line for line in done.stderr.splitlines() if COMPLAINT in line]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    findings: list[dict[str, Any]] = [finding(line=number, path="pkg/a.py") for number in range(1, 4)]
    findings += [finding(path="pkg/b.py", message=HOSTILE, severity="error")]
    path = tmp_path / "report.html"
    path.write_text(to_html(report(snapshot("pkg/a.py", "pkg/b.py"), record("lint", output(*findings)))))
    return path


def test_the_script_runs_and_the_browser_has_nothing_to_complain_of(page: Path):
    seen, complaints = opened(page)

    assert complaints == []
    assert seen.status.startswith("4 of 4")
    assert (seen.shown, seen.hidden) == (4, 0)


def test_a_link_to_a_file_shows_its_findings_alone(page: Path):
    seen, complaints = opened(page, "#file=pkg%2Fb.py")

    assert complaints == []
    assert seen.status.startswith("1 of 4")
    assert (seen.shown, seen.hidden) == (1, 3)
