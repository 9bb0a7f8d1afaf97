"""Who holds a claim, and whether he is known to be dead: then nobody waits for his lease."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from coterie import Plan, Task
from coterie._rules.journal_text import Claim
from coterie.errors import ClaimedElsewhere
from coterie.journal import owner as owners
from coterie.journal.owner import is_known_dead, new_owner
from tests.journal.bench import RUN_ID, Bench

TASK = Task("a", "work")
PROGRAM = "import sys; from coterie.journal.owner import new_owner; print(new_owner(), flush=True); sys.stdin.read()"
FOR_EVER = "99999999999999999"


class Process:
    """One that holds a claim; killed, it stays unburied until the test ends."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        self.owner = self._child.stdout.readline().strip()
        self.pid = self._child.pid

    def kill(self) -> None:
        self._child.send_signal(signal.SIGKILL)
        while not is_known_dead(self.owner):
            time.sleep(0.01)

    def bury(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def process() -> Iterator[Process]:
    started = Process()
    yield started
    started.bury()


async def held_by(owner: str) -> Bench:
    """A run that an owner says he will hold for ever."""
    bench = Bench()
    await bench.run([Task("z", "work")])
    await bench.store.write(RUN_ID, {"claim": Claim(9, 0, owner).text(), "pulse": FOR_EVER})
    return bench


@pytest.mark.parametrize("buried", [False, True])
async def test_whoever_asks_takes_over_at_once_from_a_process_of_the_same_machine_that_was_killed(
    process: Process, buried: bool
):
    bench = await held_by(process.owner)
    with pytest.raises(ClaimedElsewhere, match=f"process {process.pid} on"):
        await bench.task(TASK, waits=False)

    process.kill()
    if buried:
        process.bury()

    assert (await bench.task(TASK, waits=False)).state == "succeeded"
    # Should he wake up all the same, his records are refused.
    assert Claim.read((await bench.store.read(RUN_ID))["claim"], "").token == 10
    assert (await bench.run(Plan("p", [TASK]), allow_changes=True)).status == "succeeded"


async def test_nobody_takes_over_from_a_process_of_another_machine_before_its_lease_ends(process: Process):
    host, _, rest = process.owner.partition(":")
    bench = await held_by(f"{host}-too:{rest}")

    process.kill()

    with pytest.raises(ClaimedElsewhere):
        await bench.task(TASK, waits=False)


@pytest.mark.parametrize("hidden", [False, True])
def test_of_a_process_that_lives_nobody_says_that_it_is_dead(monkeypatch: pytest.MonkeyPatch, hidden: bool):
    owner = new_owner()
    if hidden:
        # Machines can be set up to show everybody his own processes alone.
        read = owners._read
        monkeypatch.setattr(owners, "_read", lambda path: "" if path.endswith("/stat") else read(path))

    assert not is_known_dead(owner)


@pytest.mark.parametrize("change", ["host", "boot", "space", "no start", "short", "empty", "words"])
def test_of_owners_elsewhere_nothing_is_known(change: str):
    host, boot, space, _, began, chance = new_owner().split(":")
    dead = str(2**22 - 1)
    owner = {
        "host": f"elsewhere:{boot}:{space}:{dead}:{began}:{chance}",
        "boot": f"{host}:another:{space}:{dead}:{began}:{chance}",
        "space": f"{host}:{boot}:1:{dead}:{began}:{chance}",
        "no start": f"{host}:{boot}:{space}:{dead}:-:{chance}",
        "short": "x:y",
        "empty": "",
        "words": f"{host}:{boot}:{space}:pid:{began}:{chance}",
    }[change]

    assert not is_known_dead(owner)
    assert is_known_dead(f"{host}:{boot}:{space}:{dead}:{began}:{chance}")


def test_a_process_that_took_the_number_of_a_dead_one_is_another():
    host, boot, space, pid, _, chance = new_owner().split(":")

    assert is_known_dead(f"{host}:{boot}:{space}:{pid}:1:{chance}")
