"""The cards with pictures: what the agents found and measured, only where there is a number."""

from __future__ import annotations

from coterie.teams.code_review.report import figures
from coterie.teams.code_review.report.charts import columns, meter, ring, stack
from coterie.teams.code_review.report.markup import esc, number, rule_html
from coterie.teams.code_review.report.shape import SEVERITIES, Report

__all__ = ["panels_section"]

_RULES = 6
_COMPLEX = ("f-note", "f-note", "f-warning", "f-warning", "f-error", "f-error")
_MAINTAINABLE = ("f-error", "f-warning", "f-note", "f-note", "f-note", "f-note")


def panels_section(report: Report) -> str:
    """All cards, or nothing if no agent ran."""
    makers = (_agents, _rules, _complexity, _maintainability, _lines, _docstrings, _tests, _trial)
    cards = "".join(maker(report) for maker in makers)
    if not cards:
        return ""
    return f"<section aria-labelledby=glance><h2 id=glance>At a glance</h2><div class=cards>{cards}</div></section>"


def _card(title: str, body: str, note: str = "") -> str:
    told = f"<p class=fine>{note}</p>" if note else ""
    return f"<article class=card><h3>{title}</h3>{body}{told}</article>"


def _bar(name: str, value: str, drawn: str) -> str:
    return f"<li><span class=name>{name}</span><span class=value>{value}</span>{drawn}</li>"


def _agents(report: Report) -> str:
    agents = report["summary"]["agents"]
    most = max((sum(counts[level] for level in SEVERITIES) for counts in agents.values()), default=0)
    absent = {each["agent"] for each in report["missing"] if "item" not in each}
    rows = []
    for agent, counts in sorted(agents.items()):
        told = " ".join(
            f"<span class=c-{level}>{number(counts[level])}<span class=sr> {level}s</span></span>"
            for level in SEVERITIES
            if counts[level]
        )
        nothing = "missing" if agent in absent else "nothing"
        rows.append(_bar(esc(agent), told or nothing, stack(counts, most=most)))
    return _card("Findings by agent", f"<ul class=bars>{''.join(rows)}</ul>") if rows else ""


def _rules(report: Report) -> str:
    rules = report["summary"]["rules"]
    if not rules:
        return ""
    rows = []
    for rule in rules[:_RULES]:
        name = f"{rule_html(rule['rule'], rule['help_uri'])} <small>{esc(rule['tool'])}</small>"
        rows.append(_bar(name, number(rule["findings"]), stack(rule, most=rules[0]["findings"])))
    rest = len(rules) - _RULES
    note = f"and {number(rest)} more {'rules' if rest > 1 else 'rule'}" if rest > 0 else ""
    return _card("Most frequent rules", f"<ul class=bars>{''.join(rows)}</ul>", note)


def _complexity(report: Report) -> str:
    ranks = figures.complexity(report)
    if not ranks:
        return ""
    bins = [(rank, count, css) for (rank, count), css in zip(ranks, _COMPLEX, strict=True)]
    return _card(
        "Complexity",
        columns(bins, label="Modules by the rank of their most complex function"),
        "Modules by the cyclomatic complexity of their most complex function: A up to 5, B to 10, C to 20, "
        "D to 30, E to 40, F beyond.",
    )


def _maintainability(report: Report) -> str:
    indices = figures.maintainability(report)
    if not indices:
        return ""
    bins = [(name, count, css) for (name, count), css in zip(indices, _MAINTAINABLE, strict=True)]
    return _card(
        "Maintainability",
        columns(bins, label="Modules by maintainability index"),
        "Modules by maintainability index, 0 to 100. Up to 19 is hard to change, up to 9 very hard.",
    )


def _lines(report: Report) -> str:
    lines = figures.lines(report)
    if not lines:
        return ""
    total = sum(count for _, count in lines)
    most = max(count for _, count in lines)
    rows = "".join(_bar(name, number(count), meter(count, most)) for name, count in lines)
    return _card("Lines", f"<ul class=bars>{rows}</ul>", f"{number(total)} lines of Python, counted by kind.")


def _docstrings(report: Report) -> str:
    found = figures.docstrings(report)
    if found is None:
        return ""
    said = f"{number(found.documented)} of {number(found.public)} public definitions have a docstring."
    return _card("Documented", ring(found.documented / found.public, label="Docstring coverage"), said)


def _tests(report: Report) -> str:
    found = figures.tests(report)
    if found is None:
        return ""
    ratio = found.test_lines / found.source_lines
    most = max(found.test_lines, found.source_lines)
    rows = "".join(
        _bar(name, f"{number(count)} lines", meter(count, most))
        for name, count in (("tests", found.test_lines), ("source", found.source_lines))
    )
    body = f"<p class=big>{ratio:.2f}<small> lines of test per line of source</small></p><ul class=bars>{rows}</ul>"
    return _card("Tests", body, f"{number(found.functions)} test functions.")


def _trial(report: Report) -> str:
    found = figures.trial(report)
    if found is None:
        return ""
    said = f"{number(found.passed)} tests passed, {number(found.failed)} did not."
    if found.coverage is None:
        return _card("Tests, run", f"<p class=big>{number(found.passed)}<small> passed</small></p>", said)
    body = ring(found.coverage, label="Statements that the tests ran")
    return _card("Covered by tests", body, f"Share of statements that ran. {said}")
