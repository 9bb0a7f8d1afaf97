"""The folder that a review's reports go to: those of one review, never a mixture of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.cli.formats import Format
from coterie.errors import Misuse
from coterie.ref import Ref
from coterie.result import WorkflowResult

__all__ = ["REPORT_TASK", "Collect", "Reports", "writable"]

REPORT_TASK = "report"
# How each format of a report begins, and what else stands near its beginning: whatever has not both is somebody else's.
_SIGNS = {
    Format.JSON: (b'{"findings":[', b""),
    Format.MARKDOWN: (b"# Code review of ", b""),
    Format.HTML: (b"<!doctype html>", b"<title>Code review of "),
    Format.SARIF: (b"{", b'"coterie/code-review/'),
}
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Reports:
    """What came out: the report task's own output, the report document, the files written."""

    output: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Collect:
    """Where the reports go, and which of them."""

    folder: Path
    formats: Sequence[Format]

    async def collect(self, result: WorkflowResult, store: ArtifactStore) -> Reports:
        """Copy the reports from the artifact store into the folder; without one nothing is touched.

        Raises:
            Misuse: the folder cannot be written, or the report task's output is none.
        """
        report = result[REPORT_TASK]
        if report.state != "succeeded":
            return Reports()
        output = await store.load(report.output) if isinstance(report.output, Ref) else report.output
        if not isinstance(output, dict):
            raise Misuse(f"the report task returned a {type(output).__name__}, not an object; update coterie")
        files = await self._write(output, store)
        document = await store.load(_reference(output, Format.JSON, store))
        return Reports(output, document if isinstance(document, dict) else {}, files)

    async def _write(self, output: Mapping[str, JsonValue], store: ArtifactStore) -> dict[str, Path]:
        files = {each: self._path(each) for each in self.formats}
        try:
            _make(self.folder)
            for each, path in files.items():
                await store.copy_to(_reference(output, each, store), path)
            for each in Format:
                if each not in files and _is_report(self._path(each), each):
                    self._path(each).unlink()
        except OSError as error:
            raise Misuse(
                f"cannot write the reports to {str(self.folder)!r}: {error.strerror}; choose another --output"
            ) from error
        return {each.value: path for each, path in files.items()}

    def _path(self, each: Format) -> Path:
        return self.folder / f"report.{each.value}"


def writable(folder: Path) -> Path:
    """The folder, absolute.

    Raises:
        Misuse: a file is in the way.
    """
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise Misuse(f"the output folder {str(folder)!r} cannot be made: {str(existing)!r} is a file; choose another")
    return folder.absolute()


def _make(folder: Path) -> None:
    """Make the folder, and have git leave it out; one that is there already is its owner's to decide on."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text("# Made by coterie review.\n*\n")


def _is_report(path: Path, each: Format) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    begins, holds = _SIGNS[each]
    return head.startswith(begins) and holds in head


def _reference(output: Mapping[str, JsonValue], each: Format, store: ArtifactStore) -> Ref:
    data = output.get(each.field)
    if not isinstance(data, dict):
        raise Misuse(f"the report task returned no {each.field!r}; update coterie")
    return store.recall(data)
