"""A plan as a Prefect flow, run with a real server: parameters, states, identity, and what the server shows."""

from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.states import State

from coterie import ArtifactStore, ForEach, Plan, Ref, Task, Team, WorkflowResult
from coterie.errors import Misuse, UnknownAgentType
from prefect_coterie import CoterieArtifacts, CoterieTeam, RunFailed, final_state, plan_to_flow, run_plan
from tests.prefect.runs import artifacts_of, flow_run, run, run_here, task_runs
from tests.prefect.trial import TEAM, everything, hello

pytestmark = pytest.mark.prefect


def partly(**options: Any) -> Plan:
    """One output succeeds, the other fails."""
    return Plan("partly", [Task("good", "adder"), Task("bad", "broken")], **options)


async def test_each_plan_task_is_a_task_run_with_its_dependencies(store_url: str):
    ended = await run(plan_to_flow(hello, team=TEAM, artifacts=store_url), store_url)

    seen = await task_runs(ended.flow_run_id, {"count", "double", "report"})

    assert set(seen) == {"count", "double", "report"}
    assert ended.state.is_completed()
    upstream = {found.id for inputs in seen["report"].task_inputs.values() for found in inputs if hasattr(found, "id")}
    assert upstream == {seen["count"].id, seen["double"].id}


async def test_the_flow_takes_the_parameters_of_the_plan(store_url: str):
    flow = plan_to_flow(hello, team=TEAM, artifacts=store_url)

    ended = await run(flow, store_url, n=7)

    assert list(inspect.signature(flow.fn).parameters) == ["n", "coterie_run_id", "coterie_force"]
    assert flow.parameters.properties["n"]["type"] == "integer"
    assert flow.parameters.properties["n"]["default"] == 3
    assert ended.result["count"].items is None
    assert (await flow_run(ended.flow_run_id)).parameters["n"] == 7


async def test_the_flow_run_names_the_workflow_unless_it_is_given_one(store_url: str):
    flow = plan_to_flow(hello, team=TEAM, artifacts=store_url)

    own = await run(flow, store_url)
    given = await run(flow, store_url, coterie_run_id="nightly-17")

    assert own.data["workflow_id"] == own.result.workflow_id == f"prefect.{own.flow_run_id}"
    assert given.data["workflow_id"] == "nightly-17"
    assert (await flow_run(given.flow_run_id)).name == "hello/nightly-17"


async def test_everything_that_can_become_of_a_task_is_as_in_process(store_url: str, tmp_path: Path):
    ended = await run(plan_to_flow(everything, team=TEAM, artifacts=store_url, foreach_parts=2), store_url)
    here = await run_here(everything, tmp_path)

    assert ended.result.status_document() == here.status_document()
    assert here.status == "partial"
    assert (ended.state.type.value, ended.state.name) == ("COMPLETED", "Partial")


async def test_tasks_that_never_run_show_why(store_url: str):
    ended = await run(plan_to_flow(everything, team=TEAM, artifacts=store_url, foreach_parts=2), store_url)

    seen = await task_runs(ended.flow_run_id, {task.id for task in everything.tasks})

    states = {name: found.state.name for name, found in seen.items() if found.state is not None}
    assert {task.id: states[task.id] for task in everything.tasks} == {
        "count": "Completed",
        "tolerant": "Completed",
        "strict": "Failed",
        "listless": "Failed",
        "empty": "Completed",
        "unwanted": "Skipped",
        "unwanted-items": "Skipped",
        "after-unwanted": "Skipped",
        "broken": "Failed",
        "hanging": "TimedOut",
        "blocked": "UpstreamFailed",
        "first": "Completed",
        "none-failed": "Completed",
        "report": "Completed",
    }
    assert {"strict.parts", "strict.0-2", "strict.3-4"} <= set(states)


@pytest.mark.parametrize(
    ("on_partial", "outputs", "type_", "name"),
    [
        ("succeed", None, "COMPLETED", "Partial"),
        ("fail", None, "FAILED", "Partial"),
        ("succeed", ["bad"], "FAILED", "Failed"),
        ("succeed", ["good"], "COMPLETED", "Partial"),
    ],
)
async def test_the_state_says_how_the_plan_ended(
    store_url: str, on_partial: Any, outputs: list[str] | None, type_: str, name: str
):
    plan = partly(outputs=outputs)

    ended = await run(plan_to_flow(plan, team=TEAM, artifacts=store_url, on_partial=on_partial), store_url)

    stored: State[Any] | None = (await flow_run(ended.flow_run_id)).state
    assert stored is not None
    assert (stored.type.value, stored.name) == (type_, name)
    assert "bad failed" in (stored.message or "")


async def test_a_result_can_be_read_back_from_the_server(store_url: str):
    ended = await run(plan_to_flow(partly(), team=TEAM, artifacts=store_url), store_url)

    stored = (await flow_run(ended.flow_run_id)).state
    seen = await task_runs(ended.flow_run_id, {"good", "bad"})

    assert stored is not None
    assert await stored.aresult() == ended.data
    failed = seen["bad"].state
    assert failed is not None
    record = await failed.aresult(raise_on_failure=False)
    assert record["error"] == {"type": "RuntimeError", "message": "it broke"}


async def test_a_failed_run_raises_what_became_of_it_where_nobody_asks_for_the_state(store_url: str):
    broken = plan_to_flow(Plan("broken", [Task("bad", "broken")]), team=TEAM, artifacts=store_url)

    words = r"the run 'r-\d+' ended failed: 1 of 1 tasks did not succeed: bad failed"
    with pytest.raises(RunFailed, match=words) as raised:
        await broken(coterie_run_id=f"r-{os.getpid()}")

    assert raised.value.data is not None
    found = await ArtifactStore(store_url).load(Ref.deserialize(raised.value.data["stored"]))
    assert WorkflowResult.from_dict(found)["bad"].state == "failed"
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.data) == (str(raised.value), raised.value.data)


async def test_a_partial_run_that_fails_a_flow_of_ones_own_raises_it_too_and_its_state_can_be_read(store_url: str):
    @flow
    async def own() -> State[Any]:
        return final_state(await run_plan(partly(), team=TEAM, artifacts=store_url), on_partial="fail")

    state: State[Any] = await own(return_state=True)

    assert (state.type, state.name) == ("FAILED", "Partial")
    assert (await state.aresult(raise_on_failure=False))["status"] == "partial"
    for ask in (state.aresult, state.result, own):
        with pytest.raises(RunFailed, match="ended partial: 1 of 2 tasks"):
            await ask()


async def test_an_agent_type_that_nobody_serves_is_refused_before_anything_runs(store_url: str):
    plan = Plan("lonely", [Task("count", "counter", input={"n": 1}), Task("muse", "poet", depends_on=("count",))])

    state = await plan_to_flow(plan, team=TEAM, artifacts=store_url)(return_state=True)

    error = await state.aresult(raise_on_failure=False)
    assert isinstance(error, UnknownAgentType)
    assert "'poet'" in str(error)
    assert await task_runs(state.state_details.flow_run_id, set()) == {}


async def test_blocks_are_found_by_their_names(store_url: str):
    await CoterieTeam(team_path=TEAM).asave("trial", overwrite=True)
    await CoterieArtifacts(url=store_url).asave("trial", overwrite=True)

    ended = await run(plan_to_flow(hello, team="coterie-team/trial", artifacts="trial"), store_url)

    assert ended.result.status == "succeeded"


async def test_a_block_that_is_not_saved_is_named(store_url: str):
    state = await plan_to_flow(hello, team="nobody", artifacts=store_url)(return_state=True)

    with pytest.raises(Misuse, match=r"'nobody'.*save one"):
        await state.aresult()


async def test_a_team_can_be_given_itself(store_url: str):
    own = Team("own")
    own.agent("greeter")(_greet)

    ended = await run(plan_to_flow(Plan("one", [Task("a", "greeter")]), team=own, artifacts=store_url), store_url)

    assert ended.result["a"].state == "succeeded"


async def test_the_result_is_shown_as_a_table(store_url: str):
    ended = await run(plan_to_flow(partly(), team=TEAM, artifacts=store_url), store_url)

    table = (await artifacts_of(ended.flow_run_id))["partly-result"]

    assert table.type == "table"
    assert "partial" in (table.description or "")
    assert str(table.data).index("it broke") < str(table.data).index("good")


async def test_a_display_that_fails_does_not_change_the_result(store_url: str):
    async def stumble(_: WorkflowResult, __: object) -> None:
        raise RuntimeError("no screen")

    ended = await run(plan_to_flow(hello, team=TEAM, artifacts=store_url, publish=stumble), store_url)

    assert ended.state.is_completed()


async def test_a_foreach_has_no_more_parts_than_items(store_url: str):
    plan = Plan("few", [Task("each", "squarer", foreach=ForEach(items=[3, 4]))])

    ended = await run(plan_to_flow(plan, team=TEAM, artifacts=store_url, foreach_parts=8), store_url)

    seen = await task_runs(ended.flow_run_id, {"each"})
    assert set(seen) == {"each.parts", "each.0-0", "each.1-1", "each"}


async def test_a_plan_runs_only_inside_a_flow():
    with pytest.raises(Misuse, match="outside of a flow run"):
        await run_plan(hello, team=TEAM)


@pytest.mark.parametrize("name", ["not-a-name", "class", "_hidden", "model_config", "v__args"])
def test_a_parameter_that_is_no_name_is_refused(name: str):
    plan = Plan("odd", [Task("a", "adder", input={"x": {"$param": name}})], params={name: 1})

    with pytest.raises(Misuse, match=rf"'{name}'.*rename"):
        plan_to_flow(plan, team=TEAM)


async def _greet(_: dict[str, Any]) -> str:
    return "Hello!"
