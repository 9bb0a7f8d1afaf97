"""What the command line names: parameters, artifact stores, processes to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie import sync
from coterie.cli.sources import artifacts_url, load_plan, parse_params
from coterie.cli.survivors import descendants


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("true", True), ("null", None), ("[1]", [1]), ('"3"', "3"), ("main", "main"), ("", ""), ("a=b", "a=b")],
)
def test_a_value_is_json_where_it_can_be_else_text(text, value):
    assert parse_params([f"name={text}"]) == {"name": value}


def test_parameters_of_a_function_are_used_up_by_it(folder):
    plan, left = load_plan("work:made", {"count": "2", "note": "hello"})

    assert [task.id for task in plan.tasks] == ["t0", "t1"]
    assert left == {}


def test_parameters_of_a_plan_are_the_runs(folder):
    assert load_plan("work:good", {"path": "x"})[1] == {"path": "x"}


def test_artifacts_go_where_they_are_told(folder, monkeypatch):
    assert artifacts_url("s3://bucket/prefix") == "s3://bucket/prefix"
    assert artifacts_url("here") == (folder / "here").as_uri()
    monkeypatch.setenv("COTERIE_ARTIFACTS", "memory://x")
    assert artifacts_url(None) == "memory://x"
    assert artifacts_url("memory://y") == "memory://y"


def test_artifacts_go_to_the_users_cache_by_default(folder, monkeypatch):
    monkeypatch.delenv("COTERIE_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    assert artifacts_url(None) == (folder / "cache" / "coterie" / "artifacts").as_uri()


def test_artifacts_go_to_a_temporary_folder_where_there_is_no_cache(folder, monkeypatch):
    monkeypatch.delenv("COTERIE_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    url = artifacts_url(None)

    assert Path(url.removeprefix("file://")).is_dir()
    assert url.startswith((folder / "coterie-artifacts-").as_uri())


def test_descendants_are_found_at_any_depth():
    table = [(1, 0, 1), (10, 1, 10), (11, 10, 11), (12, 11, 11), (13, 1, 13)]

    assert sorted(descendants(10, table)) == [(11, 11), (12, 11)]


def test_artifacts_go_to_a_folder_whatever_its_name(folder):
    store = sync.ArtifactStore(artifacts_url("one #1 %"))

    store.put_bytes(b"content")

    assert len([path for path in (folder / "one #1 %").rglob("*") if path.is_file()]) == 1


def test_a_home_that_nobody_has_is_a_name_like_any_other(folder):
    assert artifacts_url("~nobody-of-that-name/x") == f"file://{folder}/~nobody-of-that-name/x"
