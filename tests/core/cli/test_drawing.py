"""The drawing of a plan says exactly what the plan says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coterie import Plan, Task
from coterie.cli.drawing import Line, draw

READS = "├╰┼┴◆"
ENDS = "╰┴◆"
FEEDS = "●◆"


def plan_of(**waits: str) -> Plan:
    """`plan_of(a="", b="a")`: b waits for a."""
    return Plan("plan", [Task(name, "x", depends_on=before.split()) for name, before in waits.items()])


def shown(plan: Plan, **options: int) -> list[str]:
    return [f"{line.lanes} {line.label} {line.note}".rstrip() for line in draw(plan, **options)]


def read_back(lines: list[Line]) -> dict[str, set[str]]:
    """What each task waits for, from the picture alone."""
    on_line: dict[int, set[str]] = {}
    upstream: dict[str, set[str]] = {}
    for line in lines:
        upstream[line.label] = set()
        for column, cell in enumerate(line.lanes):
            if cell in READS:
                upstream[line.label] = set(on_line[column])
            if cell in ENDS:
                del on_line[column]
            if cell in FEEDS:
                on_line.setdefault(column, set()).add(line.label)
    assert not on_line
    return upstream


@st.composite
def plans(draw_) -> Plan:
    count = draw_(st.integers(1, 8))
    waits = [draw_(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    return Plan("plan", [Task(f"t{n}", "x", depends_on=[f"t{i}" for i in before]) for n, before in enumerate(waits)])


@given(plans())
def test_every_dependency_can_be_read_back_from_the_picture(plan: Plan):
    assert read_back(draw(plan)) == {task.id: set(task.upstream) for task in plan.tasks}


def test_a_chain_is_one_line():
    assert shown(plan_of(a="", b="a", c="b")) == ["● a", "◆ b", "╰ c"]


def test_a_diamond_needs_two_lines():
    assert shown(plan_of(a="", b="a", c="a", d="b c")) == ["●   a", "├─● b", "╰─● c", "  ╰ d"]


def test_a_task_without_neighbours_stands_alone():
    assert shown(plan_of(a="")) == ["○ a"]


def test_neighbours_that_are_alike_share_a_row_where_there_is_no_room():
    names = [f"t{n}" for n in range(10_000)]
    plan = plan_of(a="", **dict.fromkeys(names, "a"), z=" ".join(names))

    assert shown(plan) == [
        "●   a",
        "├─● t0",
        "├─● t1",
        "├─● t2",
        "╰─● … 9,997 more like these",
        "  ╰ z",
    ]


def test_what_does_not_fit_is_counted():
    plan = plan_of(a="", b="a", c="b", d="c", e="d")

    assert shown(plan, max_rows=2) == ["● a", "◆ b", "⋮ 3 more raise --limit, or use --mermaid"]


def test_more_lines_than_are_readable_become_words():
    starts = [f"s{n}" for n in range(60)]
    plan = plan_of(**dict.fromkeys(starts, ""), **{f"e{n}": f"s{n} s{(n + 1) % 60}" for n in range(60)})

    lines = draw(plan, max_rows=1000)

    assert max(len(line.lanes) for line in lines) < 48
    assert any(line.note.startswith("after s") for line in lines)
