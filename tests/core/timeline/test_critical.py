"""The critical path through spans that are given: what the end waited for, and what each stretch of it went to."""

from __future__ import annotations

from coterie.timeline import Span, critical_path
from coterie.timeline.critical import Critical, Piece
from coterie.timeline.span import ROOT, Fact, Time, time_of

S = 1_000_000


def run(ended_s: float | None, *, state: str = "succeeded") -> Span:
    return Span(ROOT, None, "r1", "run", 0, None if ended_s is None else round(ended_s * S), state, "ready")


def task(name: str, begun_s: float, ended_s: float | None, *after: str, agent_type: str = "", **more: str) -> Span:
    """A task of an agent type of its own, if none is given."""
    facts: dict[str, Fact] = {"agent_type": agent_type or name}
    links = tuple(f"task/{each}" for each in after)
    ended_us = None if ended_s is None else round(ended_s * S)
    state = more.get("state", "succeeded")
    return Span(f"task/{name}", ROOT, name, "task", round(begun_s * S), ended_us, state, "agent", facts, links)


def within(parent: str, kind: str, begun_s: float, ended_s: float, number: int = 0) -> Span:
    return Span(
        f"{parent}!{number}", parent, kind, kind, round(begun_s * S), round(ended_s * S), None, time_of(kind)
    )  # fmt: skip


def item(parent: str, name: str, begun_s: float, ended_s: float) -> Span:
    return Span(
        f"item/{parent}/{name}",
        f"task/{parent}",
        name,
        "item",
        round(begun_s * S),
        round(ended_s * S),
        "succeeded",
        "agent",
    )


def path(*spans: Span, now_s: float = 100, rest: Time = "closing") -> list[tuple[str, str, float]]:
    """The pieces: whose, what it went to, how many seconds."""
    return [told(piece) for piece in found(*spans, now_s=now_s, rest=rest).pieces]


def found(*spans: Span, now_s: float = 100, rest: Time = "closing") -> Critical:
    return critical_path(spans, round(now_s * S), rest=rest)


def told(piece: Piece) -> tuple[str, str, float]:
    return piece.span.removeprefix("task/"), piece.kind, (piece.ended_us - piece.begun_us) / S


def test_of_two_the_end_waited_for_the_one_that_ended_last():
    spans = [run(5), task("a", 0, 2), task("short", 2, 3, "a"), task("long", 2, 5, "a")]

    assert path(*spans) == [("a", "agent", 2), ("long", "agent", 3)]
    assert found(*spans).slack == {"task/a": 0, "task/short": 2 * S, "task/long": 0}


def test_of_those_before_a_task_it_waited_for_the_last():
    spans = [run(5), task("early", 0, 1), task("late", 0, 3), task("end", 3, 5, "early", "late")]

    assert path(*spans) == [("late", "agent", 3), ("end", "agent", 2)]


def test_a_wait_is_a_piece_that_names_what_could_have_begun():
    assert path(run(6), task("a", 0, 2), task("b", 5, 6, "a")) == [
        ("a", "agent", 2),
        ("b", "ready", 3),
        ("b", "agent", 1),
    ]


def test_laps_say_what_a_task_s_time_went_to():
    spans = [run(9), task("a", 0, 9), within("task/a", "queue", 0, 2), within("task/a", "call", 3, 9, 1)]

    assert path(*spans) == [("a!0", "queue", 2), ("a", "agent", 1), ("a!1", "agent", 6)]


def test_after_the_last_task_the_run_is_closed():
    assert path(run(3), task("a", 0, 2)) == [("a", "agent", 2), (ROOT, "closing", 1)]


def test_since_an_interrupted_run_was_left_nobody_is_at_it():
    spans = [run(None, state="interrupted"), task("a", 0, 2)]

    assert path(*spans, now_s=10, rest="nobody") == [("a", "agent", 2), (ROOT, "nobody", 8)]


def test_what_goes_on_is_what_the_end_waits_for():
    spans = [run(None), task("a", 0, 2), task("b", 2, None, "a", state="running"), task("c", 0, 9)]

    assert path(*spans, now_s=10) == [("a", "agent", 2), ("b", "agent", 8)]


def test_of_two_that_go_on_somebody_surely_is_at_the_claimed_one():
    spans = [run(None), task("due", 0, None, state="due"), task("claimed", 4, None, state="running")]

    assert [piece[0] for piece in path(*spans, now_s=10)] == ["claimed", "claimed"]


def test_a_task_that_got_a_slot_from_another_waited_for_that():
    spans = [run(9), task("first", 0, 5, agent_type="work"), task("second", 5.001, 9, agent_type="work")]

    assert path(*spans) == [("first", "agent", 5), ("second", "ready", 0.001), ("second", "agent", 3.999)]
    assert found(*spans).spans == (ROOT, "task/first", "task/second")


def test_a_task_that_could_have_begun_long_before_it_got_a_slot_waited_for_the_slot():
    spans = [
        run(9),
        task("a", 0, 1, agent_type="x"),
        task("same", 0, 5, agent_type="work"),
        task("b", 5, 9, "a", agent_type="work"),
    ]

    assert path(*spans) == [("same", "agent", 5), ("b", "agent", 4)]


def test_a_slot_of_another_type_is_no_reason_to_wait():
    spans = [run(9), task("other", 0, 5, agent_type="other"), task("second", 5, 9, agent_type="work")]

    assert path(*spans) == [("second", "ready", 5), ("second", "agent", 4)]


def test_what_a_task_depends_on_goes_before_a_slot():
    spans = [
        run(9),
        task("a", 0, 5, agent_type="x"),
        task("same", 0, 5.001, agent_type="work"),
        task("b", 5.002, 9, "a", agent_type="work"),
    ]

    assert found(*spans).spans == (ROOT, "task/a", "task/b")


def test_items_follow_one_another_in_the_slots():
    spans = [
        run(6),
        Span("task/each", ROOT, "each", "task", 0, 6 * S, "succeeded", "ready", {"agent_type": "work"}),
        item("each", "0", 0, 3),
        item("each", "1", 0, 2),
        item("each", "2", 2, 6),
    ]

    assert path(*spans) == [("item/each/1", "agent", 2), ("item/each/2", "agent", 4)]
    assert "item/each/0" not in found(*spans).spans


def test_clocks_that_differ_make_no_hole():
    # The second says that it began before what it waited for ended.
    assert path(run(6), task("a", 0, 3), task("b", 2.5, 6, "a")) == [("a", "agent", 2.5), ("b", "agent", 3.5)]


def test_without_links_time_tells_what_came_before():
    spans = [run(4), _plain("a", 0, 1), _plain("b", 0, 2), _plain("c", 3, 4)]

    assert path(*spans) == [("b", "agent", 2), ("c", "ready", 1), ("c", "agent", 1)]
    assert found(*spans).slack == {}


def test_a_run_in_which_nothing_has_begun_is_one_wait():
    assert path(run(None), now_s=3, rest="coterie") == [(ROOT, "coterie", 3)]


def _plain(name: str, begun_s: float, ended_s: float) -> Span:
    return Span(
        f"task/{name}", ROOT, name, "task", round(begun_s * S), round(ended_s * S), "succeeded", "agent"
    )  # fmt: skip
