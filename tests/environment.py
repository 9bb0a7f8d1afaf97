"""What an environment holds, compared with its constraints file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]


def requirements(constraints: str) -> list[Requirement]:
    """The lines of `constraints/NAME.txt` that hold for this interpreter."""
    text = (REPOSITORY / "constraints" / f"{constraints}.txt").read_text("utf-8")
    lines = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if line.marker is None or line.marker.evaluate()]


def differences(constraints: str) -> list[str]:
    """One line for each package whose installed version the constraints do not name."""
    found = []
    for requirement in requirements(constraints):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            found.append(f"{requirement} is not installed; run `make setup`")
            continue
        if installed not in requirement.specifier:
            found.append(f"{requirement} is installed as {installed}; run `make setup`")
    return found
