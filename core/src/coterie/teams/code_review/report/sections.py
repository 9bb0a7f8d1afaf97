"""The parts of the page around the findings: its head, what is missing, hotspots, how it was made."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from coterie.teams.code_review.report.charts import stack
from coterie.teams.code_review.report.markup import esc, number, path_html
from coterie.teams.code_review.report.shape import SEVERITIES, Hotspot, Missing, Problem, Report
from coterie.teams.code_review.report.treemap import MOST_FILES, treemap

__all__ = ["hotspots_section", "made_section", "masthead", "missing_section", "short_name"]

_OPEN = 8
_LISTED = 200
_SPOTS = 12
_NAMES = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "note": ("note", "notes")}


def short_name(report: Report) -> str:
    """What to call the project: of an address, the last part without `.git`."""
    source = report["source"]
    if source is None:
        return "an unknown source"
    return source["name"].rstrip("/").rsplit("/", 1)[-1].removesuffix(".git") or source["name"]


def masthead(report: Report) -> str:
    """Who was reviewed, and the three numbers that matter most."""
    counts = report["summary"]["severity"]
    figures = "".join(
        f"<li class=fig-{level}><b>{number(counts[level])}</b> {_NAMES[level][counts[level] != 1]}</li>"
        for level in SEVERITIES
    )
    state = "Complete" if report["status"] == "complete" else "Partial"
    return (
        f"<header class=mast><p class=kicker>Code review <span class=state-{report['status']}>{state}</span></p>"
        f"<h1>{esc(short_name(report))}</h1><p class=about>{_about(report)}</p>"
        f"<ul class=figures>{figures}</ul>"
        f"<div class=wide>{stack(counts, most=report['summary']['findings'], height=6)}</div></header>"
    )


def missing_section(report: Report) -> str:
    """What the report lacks, before anything else is said."""
    missing, problems = report["missing"], report["problems"]
    blocks = []
    if missing:
        partial = report["status"] == "partial"
        title = "This review is partial" if partial else "Left out on purpose"
        said = (
            "The numbers below leave out the following. Nothing is implied about it, good or bad."
            if partial
            else "The plan skipped the following."
        )
        blocks.append(
            f"<section class='notice {report['status']}' aria-labelledby=missing><h2 id=missing>{title}</h2>"
            f"<p>{said}</p>{_folded([_missing(each) for each in missing])}</section>"
        )
    if problems:
        files = len({each["path"] for each in problems})
        what = f"{number(files)} {'file was' if files == 1 else 'files were'} left out or could not be judged"
        rows = "".join(_problem(each) for each in problems[:_LISTED])
        blocks.append(
            f"<details class=problems><summary>{what} by some agent</summary><ul>{rows}</ul>"
            f"{_cut(len(problems))}</details>"
        )
    return "".join(blocks)


def hotspots_section(report: Report) -> str:
    """The map of the code and the files to look at first."""
    drawn, spots = _map(report), report["hotspots"][:_SPOTS]
    if not spots:
        return f"<section aria-labelledby=spots><h2 id=spots>Map of the code</h2>{drawn}</section>" if drawn else ""
    rows = "".join(_spot(spot, spots[0]["score"]) for spot in spots)
    return (
        f"<section aria-labelledby=spots><h2 id=spots>Where to look first</h2>{drawn}"
        "<div class=scroll><table class=spots>"
        "<caption>Files by score: 10 for each error, 3 for each warning, 1 for each note.</caption>"
        "<thead><tr><th scope=col>File<th scope=col class=num>Score<th scope=col><span class=sr>Share</span>"
        "<th scope=col class=num>Errors<th scope=col class=num>Warnings<th scope=col class=num>Notes</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def made_section(report: Report, digest: str) -> str:
    """Tasks, tools and the digest: all that is needed to check or repeat the review."""
    rows = "".join(
        f"<tr><th scope=row>{esc(task['task'])}<td>{esc(task['agent'])}<td>{_versions(task['tools'], report)}"
        f"<td>{esc(task['state'].replace('_', ' '))}<td class=num>{_items(task['items'], task['items_failed'])}"
        f"<td class=num>{number(task['findings'])}</tr>"
        for task in report["tasks"]
    )
    return (
        "<section aria-labelledby=made><h2 id=made>How this report was made</h2><div class=scroll><table>"
        "<caption>The tasks of the review.</caption><thead><tr><th scope=col>Task<th scope=col>Agent"
        "<th scope=col>Tool<th scope=col>Ended<th scope=col class=num>Items<th scope=col class=num>Findings</tr>"
        f"</thead><tbody>{rows}</tbody></table></div><p class=fine>Python {esc(report['python'])}. The same source, "
        "tools and plan give the same report on every engine, byte for byte. SHA-256 of its canonical JSON "
        "(RFC&nbsp;8785): "
        f"<code class=digest>{esc(digest)}</code></p></section>"
    )


def _map(report: Report) -> str:
    files = report["source"]["python_files"] if report["source"] else []
    if len(files) < 2:
        return ""
    cut = f" The {MOST_FILES} largest of {number(len(files))} are drawn." if len(files) > MOST_FILES else ""
    return (
        f"<figure class=map-figure>{treemap(files, report['summary']['files'])}<figcaption>Each rectangle is a Python "
        "file, as large as the file; files of one folder lie together; the warmer, the more score for its size."
        f"{cut}</figcaption></figure>"
    )


def _about(report: Report) -> str:
    source = report["source"]
    if source is None:
        return "What was reviewed is not known: the snapshot of the source is missing."
    said = [f"{number(source['files'])} files, {number(len(source['python_files']))} of them Python"]
    if source["name"] != short_name(report):
        said.insert(0, esc(source["name"]))
    if source["revision"]:
        said.append(f"revision <code>{esc(source['revision'])}</code>")
    return " <span aria-hidden=true>·</span> ".join(said)


def _folded(entries: list[str]) -> str:
    """A list whose tail is folded away when it is long."""
    head = f"<ul>{''.join(entries[:_OPEN])}</ul>"
    if len(entries) <= _OPEN:
        return head
    tail = "".join(entries[_OPEN:_LISTED])
    rest = number(len(entries) - _OPEN)
    return f"{head}<details><summary>and {rest} more</summary><ul>{tail}</ul>{_cut(len(entries))}</details>"


def _cut(total: int) -> str:
    return f"<p>{number(total - _LISTED)} more are in the JSON report.</p>" if total > _LISTED else ""


def _missing(entry: Missing) -> str:
    item = f" <code>{path_html(entry['item'])}</code>" if "item" in entry else ""
    state = esc(entry["state"].replace("_", " "))
    return f"<li><b>{esc(entry['task'])}</b>{item} <em>{state}</em> <span>{esc(entry['reason'])}</span></li>"


def _problem(problem: Problem) -> str:
    place = f"<code>{path_html(problem['path'])}</code> " if problem["path"] else ""
    return f"<li>{place}<em>{esc(problem['task'])}</em> <span>{esc(problem['reason'])}</span></li>"


def _spot(spot: Hotspot, most: int) -> str:
    # The bar shows what the score is made of, on the scale of the worst file.
    weighed = {"error": 10 * spot["error"], "warning": 3 * spot["warning"], "note": spot["note"]}
    counts = "".join(f"<td class=num>{number(spot[level])}" for level in SEVERITIES)
    return (
        f'<tr><th scope=row><a href="#file={quote(spot["path"], safe="")}"><code>{path_html(spot["path"])}</code></a>'
        f"<td class=num>{number(spot['score'])}<td class=barcell>{stack(weighed, most=most)}{counts}</tr>"
    )


def _versions(tools: Iterable[str], report: Report) -> str:
    return ", ".join(f"{esc(tool)} {esc(report['tools'].get(tool, ''))}" for tool in tools) or "none"


def _items(items: int, failed: int) -> str:
    if not items:
        return ""
    return f"{number(items)}, {number(failed)} failed" if failed else number(items)
