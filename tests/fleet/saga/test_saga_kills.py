"""A saga's process is killed in every moment, and again; whoever goes on undoes each step once, and in order."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from coterie.saga import SagaResult
from tests.fleet.saga.saga_process import PLANS, Order

SCRIPT = Path(__file__).with_name("saga_process.py")
SEED = 20_261_127
# What undoes what only after what.
ORDER = {"diamond": [("vm", "net"), ("disk", "net")], "race": [("slow", "quick"), ("slower", "quick")]}


class Kitchen:
    """Has processes run, one after another, on one journal and one ledger."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, plan: str) -> None:
        folder.mkdir(parents=True)
        self._process = process
        self._order = Order(plan, str(folder / "journal.db"), str(folder / "ledger"))
        self.plan = plan

    def run(self, kill_at: int | None = None) -> dict[str, Any] | None:
        """What the process told in the end; None if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**asdict(self._order), "kill_at": kill_at}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["status"] in (0, signal.SIGKILL), answer
        told: dict[str, Any] | None = answer["told"]
        return told

    def ledger(self) -> list[tuple[str, str]]:
        path = Path(self._order.ledger)
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, key) for name, _, key in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as zygote:
        yield zygote
        assert zygote.stdin is not None
        zygote.stdin.close()


def moments_of(process: subprocess.Popen[str], folder: Path, plan: str) -> int:
    told = Kitchen(process, folder / "undisturbed", plan).run()
    assert told is not None
    assert SagaResult.from_dict(told["result"]).outcome == "compensated"
    return int(told["moments"])


def check(kitchen: Kitchen) -> SagaResult:
    """Let it come to its end, and look at what was done."""
    told = kitchen.run()
    assert told is not None
    result, ledger = SagaResult.from_dict(told["result"]), kitchen.ledger()
    names = [name for name, _ in ledger]
    keys: dict[str, set[str]] = {}
    for name, key in ledger:
        keys.setdefault(name, set()).add(key)

    assert all(len(found) == 1 for found in keys.values()), "an effect under two keys is two effects"
    first_undone = min((n for n, name in enumerate(names) if name.startswith("-")), default=len(names))
    assert not any(name.startswith("+") for name in names[first_undone:]), "it went forward after it went back"
    for later, earlier in ORDER[kitchen.plan]:
        last = max((n for n, name in enumerate(names) if name == f"-{later}"), default=-1)
        assert last < names.index(f"-{earlier}"), f"{earlier} was undone before {later}"
    undone = {name[1:] for name in names if name.startswith("-")}
    succeeded = {one.task_id for one in result if one.state == "succeeded"}
    plan = PLANS[kitchen.plan]
    owed = {task.id for task in plan.tasks if task.compensation and task.id in succeeded}
    unclear = {letter.task_id for letter in result.dead_letters if letter.left == "unclear"}
    assert owed <= undone, "something stands"
    assert undone <= {name[1:] for name in names if name.startswith("+")} | {"disk", "slower"}
    assert len(unclear) == len(result.dead_letters)
    assert not unclear & (undone | succeeded)
    assert result.status == "failed"
    assert {name[1:] for name in names if name.startswith("+")} & {"net", "vm", "quick", "slow", "never"} <= (
        undone | unclear | {"look"}
    )

    assert kitchen.run() is not None
    assert kitchen.ledger() == ledger, "what is over was done again"
    return result


@pytest.mark.parametrize("plan", sorted(PLANS))
def test_a_saga_killed_in_any_moment_undoes_each_step_once_and_in_order(
    process: subprocess.Popen[str], tmp_path: Path, plan: str
):
    moments = moments_of(process, tmp_path, plan)
    chance = random.Random(SEED)
    chosen = sorted(chance.sample(range(1, moments + 1), 12))
    sys.stdout.write(f"\n{plan}: moments {chosen} of {moments}, seed {SEED}\n")

    for moment in chosen:
        kitchen = Kitchen(process, tmp_path / str(moment), plan)
        assert kitchen.run(moment) is None
        check(kitchen)


@pytest.mark.full
@pytest.mark.parametrize("plan", sorted(PLANS))
def test_a_saga_killed_in_each_moment_undoes_each_step_once_and_in_order(
    process: subprocess.Popen[str], tmp_path: Path, plan: str
):
    moments = moments_of(process, tmp_path, plan)
    outcomes: Counter[str | None] = Counter()

    for moment in range(1, moments + 1):
        kitchen = Kitchen(process, tmp_path / str(moment), plan)
        kitchen.run(moment)
        outcomes[check(kitchen).outcome] += 1

    sys.stdout.write(f"\n{plan}: killed in {moments} moments, {dict(outcomes)}\n")
    assert outcomes["compensated"]
    assert bool(outcomes["compensation_failed"]) == (plan == "race"), "only there a step may be lost in a failed run"


@pytest.mark.full
@pytest.mark.parametrize("plan", sorted(PLANS))
def test_a_saga_killed_again_and_again_undoes_each_step_once_and_in_order(
    process: subprocess.Popen[str], tmp_path: Path, plan: str
):
    moments = moments_of(process, tmp_path, plan)
    chance = random.Random(SEED)
    killed = 0

    for number in range(150):
        kitchen = Kitchen(process, tmp_path / str(number), plan)
        for _ in range(chance.randrange(2, 5)):
            killed += kitchen.run(chance.randrange(1, moments // 2)) is None
        check(kitchen)

    sys.stdout.write(f"\n{plan}: {killed} kills, seed {SEED}\n")
