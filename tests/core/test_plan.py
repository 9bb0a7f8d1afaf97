"""Plans: what is refused and how, their graph, their hash, their drawing."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import ForEach, Plan, Retry, Task, When
from coterie.errors import CycleFound, DuplicateTask, Misuse, UnknownDependency


def chain(*names: str) -> list[Task]:
    return [Task(name, "x", depends_on=names[i - 1 : i] if i else ()) for i, name in enumerate(names)]


def test_a_cycle_is_printed_as_a_path():
    tasks = [Task("a", "x", depends_on=["c"]), *chain("start", "end"), Task("b", "x", depends_on=["a"])]
    tasks.append(Task("c", "x", depends_on=["b", "end"]))

    with pytest.raises(CycleFound) as caught:
        Plan("p", tasks)

    path = caught.value.path
    assert path[0] == path[-1]
    assert set(path) == {"a", "b", "c"}
    assert " -> ".join(path) in str(caught.value)
    assert str(caught.value).endswith("remove one of these dependencies")
    waits_for = {task.id: task.upstream for task in tasks}
    assert all(after in waits_for[before] for before, after in itertools.pairwise(path))


@pytest.mark.parametrize(
    "task",
    [
        Task("a", "x", depends_on=["a"]),
        Task("a", "x", when=When("a")),
        Task("a", "x", foreach=ForEach(task="a")),
    ],
    ids=["depends_on", "when", "foreach"],
)
def test_a_task_that_waits_for_itself_is_a_cycle(task: Task):
    with pytest.raises(CycleFound, match="a -> a"):
        Plan("p", [task])


def test_a_cycle_through_ten_thousand_tasks_is_found():
    tasks = [Task(f"t{i}", "x", depends_on=[f"t{(i + 1) % 10_000}"]) for i in range(10_000)]

    with pytest.raises(CycleFound) as caught:
        Plan("p", tasks)

    assert len(caught.value.path) == 10_001


@given(st.integers(2, 30), st.randoms(use_true_random=False))
def test_any_single_back_edge_is_found(size: int, random: Any):
    later = random.randrange(1, size)
    earlier = random.randrange(later)
    edges = {i: {i - 1} for i in range(1, size)} | {0: set()}
    edges[earlier].add(later)

    with pytest.raises(CycleFound) as caught:
        Plan("p", [Task(f"t{i}", "x", depends_on=[f"t{j}" for j in edges[i]]) for i in range(size)])

    assert len(caught.value.path) == later - earlier + 2


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(DuplicateTask, match=r"two tasks are called 'a'; .* rename one") as caught:
        Plan("p", [Task("a", "x"), Task("b", "x"), Task("a", "y")])

    assert caught.value.task_id == "a"


@pytest.mark.parametrize(
    "fields", [{"depends_on": ["gone"]}, {"when": When("gone")}, {"foreach": ForEach(task="gone")}]
)
def test_a_reference_to_an_unknown_task_names_both_and_lists_the_known(fields: dict[str, Any]):
    with pytest.raises(UnknownDependency, match=r"'a' refers to the task 'gone', .* known tasks: 'b'$"):
        Plan("p", [Task("a", "x", **fields), Task("b", "x")])


def test_a_reference_that_is_nearly_right_is_told_what_was_meant():
    with pytest.raises(UnknownDependency, match=r"'cuont', which is not in the plan; did you mean 'count'\?$"):
        Plan("p", [Task("count", "x"), Task("couns", "x", depends_on=["cuont"])])


def test_a_long_list_of_known_tasks_is_cut():
    tasks = [Task(f"t{i:03}", "x") for i in range(100)]

    with pytest.raises(UnknownDependency, match="'t019' and 80 more"):
        Plan("p", [*tasks, Task("z", "x", depends_on=["gone"])])


@pytest.mark.parametrize(
    ("tasks", "fields", "message"),
    [
        ([], {}, "the plan 'p' has no tasks"),
        ([{"id": "a"}], {}, "which is no Task"),
        ([Task("a", "x")], {"outputs": []}, "outputs is an empty list"),
        ([Task("a", "x")], {"outputs": ["b"]}, "'outputs' refers to the task 'b'"),
        ([Task("a", "x")], {"params": {"n": {1}}}, "params/n is a set"),
        ([Task("a", "x", input={"in": [{"$param": "n"}]})], {}, "'a' refers to the parameter 'n'.* add it to params"),
    ],
)
def test_a_plan_that_cannot_run_is_refused(tasks: Any, fields: dict[str, Any], message: str):
    with pytest.raises(Misuse, match=message):
        Plan("p", tasks, **fields)


def test_a_plan_with_a_bad_name_is_refused():
    with pytest.raises(Misuse, match="plan name 'my plan'"):
        Plan("my plan", [Task("a", "x")])


def test_only_an_object_with_the_mark_alone_is_a_parameter():
    plan = Plan("p", [Task("a", "x", input={"n": {"$param": "n", "and": 1}, "m": {"$param": 5}})])

    assert plan.params == {}


def test_the_outputs_are_the_leaves_unless_declared():
    tasks = [*chain("a", "b"), Task("c", "x", depends_on=["a"])]

    assert Plan("p", tasks).output_ids == ("b", "c")
    assert Plan("p", tasks, outputs=["a", "b", "a"]).output_ids == ("a", "b")


def test_an_unknown_task_is_asked_for_in_vain():
    with pytest.raises(Misuse, match="the plan 'p' has no task 'z'; it has: a, b"):
        Plan("p", chain("a", "b")).task("z")


def test_the_hash_is_of_the_content():
    def build(**changes: Any) -> Plan:
        fields = {"input": {"n": 1}, "timeout_s": 60, "retry": Retry(base_s=1, cap_s=2), **changes}
        return Plan("p", [Task("a", "x", **fields)], params={"k": [1]})

    assert build().hash == build(timeout_s=60.0, retry=Retry(cap_s=2.0, base_s=1.0)).hash
    assert build() == build()
    assert hash(build()) == hash(build())
    different = [{"input": {"n": 2}}, {"timeout_s": 61}, {"retry": None}, {"priority": 1}, {"trigger_rule": "all_done"}]
    assert len({build().hash, *(build(**change).hash for change in different)}) == 6


def test_the_hash_is_stable_across_versions():
    """A changed hash is a changed plan to every run in progress: only a change of format may move this."""
    plan = Plan(
        "review",
        [
            Task("list", "lister", input={"path": {"$param": "path"}}),
            Task("each", "checker", foreach=ForEach(task="list", pointer="/files", key="/path"), timeout_s=30),
            Task("report", "reporter", depends_on=["each"], trigger_rule="all_done", when=When("list", "/go", "eq", 1)),
        ],
        params={"path": "."},
        outputs=["report"],
    )

    assert plan.hash == "eefa5c02e7e1f8b27b418e7ffed43dc86122917eeb1b1f1b8531c968bc5cad76"


def test_the_graph_knows_order_leaves_and_depth():
    plan = Plan("p", [Task("c", "x", depends_on=["b"]), Task("b", "x", depends_on=["a"]), Task("a", "x")])

    assert [plan.graph.ids[i] for i in plan.graph.order] == ["a", "b", "c"]
    assert plan.leaves == ("c",)
    assert plan.graph.depth() == 3


def test_a_drawing_has_every_task_and_edge():
    drawing = Plan(
        "p",
        [
            Task("a", "lister"),
            Task("b", "checker", foreach=ForEach(task="a")),
            Task("c", "reporter", depends_on=["b", "a"], trigger_rule="all_done"),
        ],
    ).to_mermaid()

    assert drawing.splitlines() == [
        "flowchart TD",
        '    t0["a<br/><i>lister</i>"]',
        '    t1[["b<br/><i>checker</i>"]]',
        '    t2["c<br/><i>reporter</i>"]',
        "    t0 --> t1",
        "    t1 -->|all_done| t2",
        "    t0 -->|all_done| t2",
    ]


def test_ten_thousand_tasks_in_a_chain_or_side_by_side_make_a_plan():
    deep = Plan("deep", [Task(f"t{i}", "x", depends_on=[f"t{i - 1}"] if i else []) for i in range(10_000)])
    wide = Plan("wide", [Task("a", "x"), *(Task(f"t{i}", "x", depends_on=["a"]) for i in range(10_000))])

    assert deep.graph.depth() == 10_000
    assert len(wide.leaves) == 10_000
