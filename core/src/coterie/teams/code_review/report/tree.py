"""Read the snapshot's manifest: what was reviewed, and which files were left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from coterie.teams.code_review.report.clean import Malformed, clean, scrub
from coterie.teams.code_review.report.finding import relative_path
from coterie.teams.code_review.report.output import read_problems
from coterie.teams.code_review.report.shape import Missing, Problem, Source, SourceFile, TaskRecord

__all__ = ["Tree", "read_tree"]


@dataclass(slots=True)
class Tree:
    """The reviewed tree as far as it is known."""

    source: Source | None = None
    problems: list[Problem] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def read_tree(record: TaskRecord | None) -> Tree:
    """The tree behind the snapshot task's record; without one, nothing is known and nothing is missing."""
    tree = Tree()
    if record is None:
        return tree
    if record["state"] != "succeeded":
        return _without(tree, record, record["state"], record["reason"] or "no reason was given")
    try:
        tree.source = _source(record["output"])
    except Malformed as error:
        return _without(tree, record, "malformed", str(error))
    skipped = record["output"].get("skipped") if isinstance(record["output"], dict) else None
    tree.problems, faults = read_problems(enumerate(skipped if isinstance(skipped, list) else []), record["task"])
    return _without(tree, record, "malformed", "; ".join(faults[:3])) if faults else tree


def _without(tree: Tree, record: TaskRecord, state: str, reason: str) -> Tree:
    tree.missing.append(Missing(task=record["task"], agent="snapshotter", state=state, reason=scrub(reason)))
    return tree


def _source(manifest: object) -> Source:
    source = manifest.get("source") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(source, dict):
        raise Malformed("the manifest has no source")
    revision, files = source.get("revision"), manifest.get("files")
    return Source(
        kind=str(source.get("kind")),
        name=_name(source.get("name")),
        revision=clean(revision) if isinstance(revision, str) else None,
        files=len(files) if isinstance(files, list) else 0,
        python_files=_python_files(manifest.get("python_files")),
    )


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip("/"):
        return "unnamed"
    # Of a local path only the last part: the same tree lies elsewhere on the next machine.
    return clean(raw.rstrip("/").rsplit("/", 1)[-1] if raw.startswith("/") else raw)


def _python_files(raw: object) -> list[SourceFile]:
    files = [_file(each, f"python_files/{n}") for n, each in enumerate(raw if isinstance(raw, list) else [])]
    return sorted(files, key=lambda file: file["path"])


def _file(raw: object, where: str) -> SourceFile:
    size = raw.get("size_bytes") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Malformed(f"{where} has no size_bytes")
    return SourceFile(path=relative_path(raw.get("path"), f"{where}/path"), size_bytes=size)
