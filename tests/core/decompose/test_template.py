"""Templates: which one an objective means, and what becomes of its parameters."""

from __future__ import annotations

import itertools

import pytest

from coterie import Plan, Task, Team, TemplateDecomposer
from coterie.decompose import Template
from coterie.errors import Misuse, UnknownAgentType, UnknownObjective


def review(source: str, depth: int = 1, strict: bool = False) -> Plan:
    return Plan("review", [Task("lint", "linter", input={"source": source, "depth": depth, "strict": strict})])


def release(version: str) -> Plan:
    return Plan("release", [Task("tag", "tagger", input={"version": version})])


def audit() -> Plan:
    return Plan("audit", [Task("audit", "linter")])


TEMPLATES = [
    Template("code review", review, ("review the code", "look over")),
    Template("release", release, ("cut a release", "release notes review")),
    Template("security review", audit, ("audit",)),
]


@pytest.fixture
def team() -> Team:
    team = Team("reviewers")

    @team.agent("linter")
    async def lint(task_input): ...

    return team


@pytest.fixture
def decomposer() -> TemplateDecomposer:
    return TemplateDecomposer(TEMPLATES)


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("code review", "code review"),
        ("  Code-Review! ", "code review"),
        ("CODE_REVIEW", "code review"),
        ("look over", "code review"),
        ("please look this over", "code review"),
        ("a review of all the code", "code review"),
        ("audit", "security review"),
        ("release", "release"),
        ("write a review of the release notes", "release"),
    ],
)
def test_an_objective_chooses_by_its_words(decomposer, objective, name):
    assert decomposer.choose(objective).name == name


def test_the_choice_does_not_depend_on_the_order_of_registration():
    objectives = ["review the security code", "release audit", "code review", "cut a code release"]

    choices = set()
    for order in itertools.permutations(TEMPLATES):
        decomposer = TemplateDecomposer(order)
        chosen = []
        for objective in objectives:
            try:
                chosen.append(decomposer.choose(objective).name)
            except UnknownObjective as error:
                chosen.append(error.candidates)
        choices.add(tuple(chosen))

    assert len(choices) == 1


async def test_an_unknown_objective_lists_the_known_ones(decomposer, team):
    with pytest.raises(UnknownObjective) as caught:
        await decomposer.decompose("bake a cake", {}, team=team)

    assert caught.value.known == ("code review", "release", "security review")
    assert "'bake a cake' fits no template; known templates: 'code review', 'release'" in str(caught.value)


async def test_an_ambiguous_objective_names_the_candidates_and_chooses_none(decomposer, team):
    with pytest.raises(UnknownObjective) as caught:
        await decomposer.decompose("code and security review", {"source": "."}, team=team)

    assert caught.value.candidates == ("code review", "security review")


def test_a_part_of_a_name_is_no_match(decomposer):
    with pytest.raises(UnknownObjective):
        decomposer.choose("review")


async def test_the_context_gives_the_parameters(decomposer, team):
    plan = await decomposer.decompose("code review", {"source": "/src", "depth": "3"}, team=team)

    assert plan.task("lint").input == {"source": "/src", "depth": 3, "strict": False}


@pytest.mark.parametrize(
    ("context", "culprit"),
    [
        ({}, "needs the parameter 'source'"),
        ({"source": ".", "colour": 1}, "has no parameter 'colour'; it takes: source, depth, strict"),
        ({"source": ".", "depth": "deep"}, "parameter 'depth' of the template 'code review' is 'deep'"),
        ({"source": 3}, "parameter 'source'"),
    ],
)
async def test_parameters_that_do_not_fit_are_named(decomposer, team, context, culprit):
    with pytest.raises(Misuse, match=culprit):
        await decomposer.decompose("code review", context, team=team)


async def test_a_plan_that_the_team_cannot_run_is_refused(decomposer, team):
    with pytest.raises(UnknownAgentType, match="'tagger'"):
        await decomposer.decompose("release", {"version": "1"}, team=team)


async def test_a_function_becomes_a_template_by_decoration(team):
    decomposer = TemplateDecomposer()

    @decomposer.template("tidy up", aliases=["clean"])
    def tidy() -> Plan:
        return audit()

    assert (await decomposer.decompose("clean", {}, team=team)).name == "audit"
    assert decomposer.templates[0].name == "tidy up"


def test_a_phrase_means_one_template_only(decomposer):
    with pytest.raises(Misuse, match="'code review' of the template 'other' already means"):
        decomposer.add(Template("other", audit, ("Code Review",)))

    assert [template.name for template in decomposer.templates] == [t.name for t in TEMPLATES]


def test_a_name_without_words_is_refused():
    with pytest.raises(Misuse, match="holds no word"):
        TemplateDecomposer([Template("--", audit)])


def test_parameters_that_nobody_can_name_are_refused():
    with pytest.raises(Misuse, match=r"'\*sources'"):
        Template("many", lambda *sources: audit())


def test_a_template_that_returns_no_plan_is_named():
    with pytest.raises(Misuse, match="'empty' returned a NoneType"):
        Template("empty", lambda: None).build({})
