"""Random machines, and whatever may come in: duplicates, late ends, time-outs, clocks that go back."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coterie._rules.machine_texts import Receipt
from coterie._rules.timeline import SECOND, moment
from coterie.machine import StateMachine
from tests.journal.machine.worlds import EVENTS, VALUES, begun, check_history, machines

CALM = settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


class Life(RuleBasedStateMachine):
    """One machine, and a world that sends, repeats, comes late and lets time pass. The rule is asked through texts."""

    @initialize(machine=machines())
    def begin(self, machine: StateMachine) -> None:
        self.world = begun(machine)
        self.ids = 0
        self.sent: dict[str, tuple[str, Any, Receipt]] = {}

    def _due(self) -> bool:
        """Whether a time-out comes before whatever comes in now."""
        head = self.world.head
        return head.due is not None and moment({**head.time.stamp()}, self.world.now).at >= head.due

    @precondition(lambda self: self.world.head.phase == "acting")
    @rule(how=st.sampled_from(["succeeded", "failed"]), value=VALUES)
    def the_action_ends(self, how: str, value: Any) -> None:
        due, number = self._due(), self.world.head.visit
        answer = self.world.end(how, value)

        if not due:
            assert answer.verdict in {"moved", "stayed"}
            assert answer.verdict == "moved" or not self.world.machine.state(self.world.state).ways("succeeded")
        record = self.world.visit(number)
        assert (record is not None and record.result is not None) == (answer.verdict != "late")

    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed"]), value=VALUES)
    def an_action_of_another_visit_ends(self, data: st.DataObject, how: str, value: Any) -> None:
        numbers = st.integers(1, self.world.head.visit + 1).filter(lambda n: n != self.world.head.visit)
        before = dict(self.world.texts)

        assert self.world.end(how, value, visit=data.draw(numbers)).verdict == "late"

        assert self.world.texts == before

    @precondition(lambda self: self.world.head.phase != "acting")
    @rule(how=st.sampled_from(["succeeded", "failed"]), value=VALUES)
    def the_action_ends_again(self, how: str, value: Any) -> None:
        before = self.world.head

        assert self.world.end(how, value).verdict == "late"

        assert self._due() or self.world.head.visit in (before.visit, before.visit + 1)

    @rule(name=st.sampled_from([*EVENTS, "succeeded", "failed", "timeout", "cancelled"]), payload=VALUES)
    def an_event_is_sent(self, name: str, payload: Any) -> None:
        self.ids += 1
        before, texts, due = self.world.head, dict(self.world.texts), self._due()
        answer = self.world.send(name, payload, event_id=f"e{self.ids}", who="ann")

        assert answer.verdict in {"moved", "illegal"}
        if answer.verdict == "moved":
            assert answer.receipt is not None
            assert name in self.world.machine.state(answer.receipt.state).events
            record = self.world.visit(answer.receipt.visit)
            assert record is not None
            assert (record.event_id, record.trigger, record.payload, record.who) == (
                f"e{self.ids}",
                name,
                payload,
                "ann",
            )
            assert self.world.head.event == answer.receipt.visit
            self.sent[f"e{self.ids}"] = (name, payload, answer.receipt)
        elif not due:
            # Nothing but the clock, where that was set back.
            assert {**self.world.texts, "machine": ""} == {**texts, "machine": ""}
            assert self.world.head.state == before.state

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), visit=st.sampled_from([None, 1]))
    def an_event_is_sent_again(self, data: st.DataObject, visit: int | None) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.sent)))
        name, payload, receipt = self.sent[event_id]
        before = dict(self.world.texts)

        answer = self.world.send(name, payload, event_id=event_id, who="ann", visit=visit)

        assert (answer.verdict, answer.receipt) == ("repeated", receipt)
        assert self.world.texts == before

    @rule(data=st.data(), name=st.sampled_from(EVENTS), payload=VALUES)
    def an_event_meant_for_another_visit_is_sent(self, data: st.DataObject, name: str, payload: Any) -> None:
        numbers = st.integers(1, self.world.head.visit + 2).filter(lambda n: n != self.world.head.visit)
        meant, due = data.draw(numbers), self._due()
        self.ids += 1
        answer = self.world.send(name, payload, event_id=f"e{self.ids}", visit=meant)

        assert answer.verdict == "illegal" or (due and answer.receipt is not None and answer.receipt.visit == meant)
        if answer.receipt is not None:
            self.sent[f"e{self.ids}"] = (name, payload, answer.receipt)

    @rule()
    def somebody_looks(self) -> None:
        due, number = self._due(), self.world.head.visit
        answer = self.world.look()

        assert (answer.verdict == "moved") == due
        if answer.verdict == "moved":
            left = self.world.visit(number)
            assert left is not None
            assert left.trigger == "timeout"

    @precondition(lambda self: self.ids > 5 or self.world.head.phase == "over")
    @rule()
    def somebody_cancels(self) -> None:
        was_over = self.world.head.phase == "over"
        answer = self.world.cancel("ben")

        assert answer.verdict in {"moved", "repeated"}
        assert self.world.head.phase == "over"
        assert was_over <= (answer.verdict == "repeated")

    @rule(us=st.one_of(st.integers(1, 6 * SECOND), st.just(3600 * SECOND)))
    def time_passes(self, us: int) -> None:
        self.world.now += us

    @rule(us=st.sampled_from([1, SECOND, 7 * SECOND + 1, 10**14]))
    def the_clock_is_set_back(self, us: int) -> None:
        self.world.now -= us

    @rule()
    def it_is_begun_again(self) -> None:
        before = dict(self.world.texts)

        assert self.world.begin() == self.world.head

        assert self.world.texts == before

    @invariant()
    def the_history_is_one_walk_along_the_transitions(self) -> None:
        if not hasattr(self, "world"):
            return
        check_history(self.world)

    @invariant()
    def every_event_was_taken_once(self) -> None:
        taken = [visit.event_id for visit in self.world.history() if visit.event_id] if hasattr(self, "world") else []
        assert sorted(taken) == sorted(getattr(self, "sent", {}))


TestLife = Life.TestCase
TestLife.settings = CALM
