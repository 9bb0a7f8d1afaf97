"""What only the whole tree shows: repeated code and import cycles."""

from __future__ import annotations

import ast
import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from coterie.teams.code_review.analyzer import analyze_structure
from coterie.teams.code_review.dependencies import Cycle, Dependencies, Edge, find_cycles, reachable, read_dependencies
from coterie.teams.code_review.duplication import WINDOW, Place, find_clones

BLOCK = "".join(f"total_{number} = compute(first={number}, second=[{number}, 1])\n" for number in range(WINDOW + 2))


def cycles(files: dict[str, str]) -> list[tuple[str, ...]]:
    return [cycle.path for cycle in find_cycles(read_dependencies({p: ast.parse(t) for p, t in files.items()}))]


def test_repeated_statements_are_found_with_all_their_places():
    clones, problems = find_clones({"a.py": "x = 1\n" + BLOCK, "b.py": BLOCK + "y = 2\n", "c.py": "z = 3\n"})

    assert [clone.places for clone in clones] == [(Place("a.py", 2, 11), Place("b.py", 1, 10))]
    assert clones[0].statements == WINDOW + 2
    assert problems == []


def test_layout_and_comments_do_not_hide_a_repetition():
    other = "# copied\n\n" + BLOCK.replace("(", "(  # here\n    ").replace("\n", "\n\n")

    assert len(find_clones({"a.py": BLOCK, "b.py": other})[0]) == 1


def test_other_names_are_other_code():
    assert find_clones({"a.py": BLOCK, "b.py": BLOCK.replace("total", "sum")})[0] == []


def test_imports_and_small_repetitions_are_none():
    imports = "".join(f"import module_{number}\n" for number in range(50))
    small = "".join(f"a{number} = 1\n" for number in range(WINDOW))

    assert find_clones({"a.py": imports + small, "b.py": imports + small})[0] == []


def test_a_repetition_within_one_file_does_not_overlap_itself():
    line = "call(one, two, three, four, five, six)\n"

    clones, _ = find_clones({"a.py": line * 40})

    assert all(one.end_line < two.line for clone in clones for one, two in pairwise(clone.places))


def test_a_long_clone_and_its_shorter_third_copy_are_two_findings():
    longer = BLOCK + BLOCK.replace("total", "sum")

    clones, _ = find_clones({"a.py": longer, "b.py": longer, "c.py": BLOCK})

    assert [len(clone.places) for clone in clones] == [2, 3] or [len(clone.places) for clone in clones] == [3, 2]


def test_a_file_that_breaks_off_is_a_problem_and_the_others_are_compared():
    clones, problems = find_clones({"a.py": BLOCK, "b.py": BLOCK + "x = (\n", "c.py": BLOCK})

    assert [place.path for place in clones[0].places] == ["a.py", "c.py"]
    assert [problem.path for problem in problems] == ["b.py"]


def test_the_order_of_the_files_changes_nothing():
    files = {f"{name}.py": BLOCK if name in "bdf" else f"x = '{name}'\n" + BLOCK[50:] for name in "abcdef"}
    shuffled = list(files.items())
    random.Random(7).shuffle(shuffled)

    assert find_clones(dict(shuffled)) == find_clones(files)


def test_modules_that_import_each_other_are_a_cycle():
    files = {"p/__init__.py": "", "p/a.py": "from p import b", "p/b.py": "import p.c", "p/c.py": "from .a import x"}

    assert cycles(files) == [("p/a.py", "p/b.py", "p/c.py", "p/a.py")]


def test_the_shortest_cycle_stands_for_a_larger_group():
    files = {"a.py": "import b, c", "b.py": "import c", "c.py": "import a"}

    found = find_cycles(read_dependencies({path: ast.parse(text) for path, text in files.items()}))

    assert found == [Cycle(("a.py", "b.py", "c.py"), ("a.py", "c.py", "a.py"), 1)]


def test_imports_that_loading_does_not_execute_make_no_cycle():
    late = "def f():\n    import b\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
    main = "if __name__ == '__main__':\n    import b\n"

    for text in (late, typed, main):
        assert cycles({"a.py": text, "b.py": "import a"}) == []


def test_imports_within_try_and_if_count():
    assert cycles({"a.py": "try:\n    import b\nexcept ImportError:\n    pass\n", "b.py": "import a"})


def test_packages_below_src_and_relative_parents_resolve():
    files = {
        "src/p/__init__.py": "",
        "src/p/q/__init__.py": "from ..r import x",
        "src/p/r.py": "from p.q import y",
    }

    assert cycles(files) == [("src/p/q/__init__.py", "src/p/r.py", "src/p/q/__init__.py")]


def test_a_script_named_like_the_standard_library_is_not_imported_by_its_name():
    assert cycles({"json.py": "import tools", "tools.py": "import json"}) == []


def test_of_two_modules_with_one_name_the_nearest_is_meant():
    files = {"one/a.py": "import b", "one/b.py": "import a", "two/a.py": "", "two/b.py": "import a"}

    assert cycles(files) == [("one/a.py", "one/b.py", "one/a.py")]


def test_relative_imports_that_leave_the_tree_are_ignored():
    assert cycles({"a.py": "from ....x import y\nfrom . import b", "b.py": ""}) == []


def test_what_tests_reach_includes_late_imports_and_packages_on_the_way():
    files = {"p/__init__.py": "from p import z", "p/a.py": "def f():\n    from p import b", "p/b.py": "", "p/z.py": ""}
    files |= {"p/lost.py": "", "tests/test_a.py": "import p.a"}

    reached = reachable(read_dependencies({path: ast.parse(t) for path, t in files.items()}), ["tests/test_a.py"])

    assert reached == set(files) - {"p/lost.py"}


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_a_module_is_in_a_cycle_exactly_if_it_reaches_itself(pairs: set[tuple[int, int]]):
    edges = {str(node): tuple(Edge(str(b), 1, True) for a, b in sorted(pairs) if a == node) for node in range(10)}
    graph = {node: {edge.target for edge in found if edge.target != node} for node, found in edges.items()}

    found = find_cycles(Dependencies(edges))

    members = [member for cycle in found for member in cycle.members]
    assert sorted(members) == sorted(node for node in graph if node in closure(graph, node))
    for cycle in found:
        assert cycle.path[0] == cycle.path[-1] == cycle.members[0]
        assert all(b in graph[a] for a, b in pairwise(cycle.path))


def closure(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    pending = list(graph[start])
    while pending:
        node = pending.pop()
        if node not in seen:
            seen.add(node)
            pending.extend(graph[node])
    return seen


def test_a_chain_of_thousands_of_modules_needs_no_recursion():
    files = {f"m{number}.py": f"import m{(number + 1) % 3000}" for number in range(3000)}

    assert len(cycles(files)) == 1


def test_files_that_do_not_parse_are_problems_beside_the_findings():
    answer = analyze_structure({"a.py": b"import b\n", "b.py": b"import a\n", "c.py": b"def f(:\n"})

    assert [each["rule"] for each in answer["findings"]] == ["import-cycle"]
    assert [each["path"] for each in answer["problems"]] == ["c.py"]
