"""Snapshots of folders, work trees and commits."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coterie._json import canonical_bytes
from coterie.artifacts import ArtifactStore
from coterie.teams.code_review.errors import EmptySource, SourceTooLarge, UnknownRevision, UnreachableSource
from coterie.teams.code_review.listing import Limits
from coterie.teams.code_review.manifest import Manifest
from coterie.teams.code_review.snapshot import take_snapshot
from tests.support.seeded_repository import UNREAD, commit_all


def git(folder: Path, *arguments: str) -> str:
    env = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def paths(manifest: Manifest) -> list[str]:
    return [file.path for file in manifest.files]


def reasons(manifest: Manifest) -> dict[str, str]:
    return {problem.path: problem.reason for problem in manifest.skipped}


async def test_equal_content_gives_equal_bytes_wherever_it_lies(project: Path, tmp_path: Path, store: ArtifactStore):
    elsewhere = tmp_path / "far" / "away" / "shop"
    shutil.copytree(project, elsewhere, symlinks=True)
    os.utime(elsewhere / "shop/orders.py", (1, 1))

    one = await take_snapshot(str(project), None, store)
    other = await take_snapshot(str(elsewhere), None, ArtifactStore(f"file://{tmp_path / 'another'}"))

    assert canonical_bytes(one.to_json()) == canonical_bytes(other.to_json())
    assert str(tmp_path).encode() not in canonical_bytes(one.to_json())


async def test_a_commit_is_the_same_from_a_clone_a_url_and_a_bare_repository(
    repository: Path, tmp_path: Path, store: ArtifactStore
):
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare/shop")

    local = await take_snapshot(str(repository), "main", store)
    remote = await take_snapshot(f"file://{repository}", None, store)
    bare = await take_snapshot(str(tmp_path / "bare/shop"), None, store)

    assert canonical_bytes(local.to_json()) == canonical_bytes(remote.to_json()) == canonical_bytes(bare.to_json())


async def test_every_file_lies_in_the_store_once(project: Path, store: ArtifactStore, tmp_path: Path):
    (project / "copy.py").write_bytes((project / "shop/orders.py").read_bytes())

    manifest = await take_snapshot(str(project), None, store)

    objects = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert {path.name for path in objects} == {file.sha256 for file in manifest.files}
    assert len(objects) < len(manifest.files)


async def test_files_that_cannot_be_judged_are_named_with_the_reason(project: Path, store: ArtifactStore):
    os.mkfifo(project / "pipe.py")
    (project / "huge.py").write_text("x = 1\n" * 200_000)
    (project / "null.py").write_bytes(b"x = '\0'\n")
    (project / "inside.py").symlink_to("shop/orders.py")
    (project / "folder").symlink_to("/etc")

    manifest = await take_snapshot(str(project), None, store)

    found = reasons(manifest)
    for path, reason in UNREAD[1:]:
        assert reason in found[path]
    assert "special file" in found["pipe.py"]
    assert "above the limit" in found["huge.py"]
    assert "null bytes" in found["null.py"]
    assert "its target is reviewed" in found["inside.py"]
    assert "points outside" in found["folder"]
    assert not {"pipe.py", "huge.py", "null.py", "inside.py", "shop/latin.py"} & set(manifest.judged)


SNAPSHOT_AS_NOBODY = """
import asyncio, json, os, sys
from coterie.artifacts import ArtifactStore
from coterie.teams.code_review.snapshot import take_snapshot

async def main():
    store = ArtifactStore("memory://nobody")
    # With all rights, so that every module is loaded: nobody may be refused the interpreter's own files.
    await take_snapshot(os.path.dirname(os.path.abspath(sys.argv[1])), None, store)
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        manifest = await take_snapshot(sys.argv[1], None, store)
        print(json.dumps(manifest.to_json()))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))

asyncio.run(main())
"""


def snapshot_as_nobody(source: Path) -> dict[str, Any]:
    """The manifest as a user without rights gets it: whoever runs the tests may have all of them."""
    command = [sys.executable, "-c", SNAPSHOT_AS_NOBODY, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture
def open_project() -> Iterator[Path]:
    """A folder that anybody may enter, with a module and two folders that nobody else may."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "shop"
        for path in (project / "closed", project / "listed" / "below"):
            path.mkdir(parents=True)
            (path / "hidden.py").write_text("x = 1\n")
        (project / "open.py").write_text("x = 1\n")
        (project / "listed" / "near.py").write_text("x = 1\n")
        Path(folder).chmod(0o755)
        yield project
        for path in (project, project / "closed", project / "listed"):
            path.chmod(0o755)


def test_a_folder_that_may_not_be_entered_is_skipped_with_the_reason(open_project: Path):
    (open_project / "closed").chmod(0o000)
    (open_project / "listed").chmod(0o444)

    manifest = snapshot_as_nobody(open_project)

    assert [file["path"] for file in manifest["files"]] == ["open.py"]
    assert {each["path"]: each["reason"] for each in manifest["skipped"]} == {
        "closed": "a folder that cannot be read (Permission denied)",
        "listed/below": "a folder that cannot be read (Permission denied)",
        "listed/near.py": "cannot be read (Permission denied)",
    }


@pytest.mark.parametrize("source", [".", "within"])
def test_an_untracked_folder_that_git_may_not_enter_is_skipped_with_the_reason(open_project: Path, source: str):
    git(open_project, "init", "--quiet")
    within = open_project / source
    within.mkdir(exist_ok=True)
    (within / "seen.py").write_text("x = 1\n")
    (within / "shut").mkdir()
    (within / "shut").chmod(0o000)

    manifest = snapshot_as_nobody(within)

    assert "seen.py" in [file["path"] for file in manifest["files"]]
    assert {"path": "shut", "reason": "a folder that cannot be read (Permission denied)"} in manifest["skipped"]


def test_a_source_that_may_not_be_read_is_named(open_project: Path):
    open_project.chmod(0o000)

    told = snapshot_as_nobody(open_project)

    assert told["error"].startswith("MissingSource: the folder 'shop' cannot be read (Permission denied)")


async def test_the_commit_of_links_says_the_same_of_them(repository: Path, store: ArtifactStore):
    (repository / "inside.py").symlink_to("shop/orders.py")
    (repository / "absolute.py").symlink_to("/etc/passwd")
    commit_all(repository)

    lying = await take_snapshot(str(repository), None, store)
    committed = await take_snapshot(str(repository), "HEAD", store)

    assert reasons(lying) == reasons(committed)
    assert "points outside" in reasons(committed)["absolute.py"]


async def test_a_file_above_the_size_limit_is_not_stored(project: Path, store: ArtifactStore):
    (project / "data.bin").write_bytes(b"\0" * 5000)

    manifest = await take_snapshot(str(project), None, store, limits=Limits(file_bytes=4000))

    assert "data.bin" not in paths(manifest)
    assert "above the limit of 4000" in reasons(manifest)["data.bin"]


async def test_beyond_the_limit_for_all_bytes_modules_stay_and_others_go(project: Path, store: ArtifactStore):
    (project / "a_first.txt").write_text("x" * 9000)
    whole = await take_snapshot(str(project), None, store)
    modules = sum(file.size_bytes for file in whole.files if file.path.endswith(".py"))

    manifest = await take_snapshot(str(project), None, store, limits=Limits(total_bytes=modules + 100))

    assert "shop/orders.py" in manifest.judged
    assert "beyond the limit" in reasons(manifest)["a_first.txt"]


@pytest.mark.parametrize("limits", [Limits(files=3), Limits(total_bytes=100)])
@pytest.mark.parametrize("revision", [None, "HEAD"])
async def test_too_large_a_source_is_refused(
    repository: Path, store: ArtifactStore, limits: Limits, revision: str | None
):
    with pytest.raises(SourceTooLarge, match="review a part of it"):
        await take_snapshot(str(repository), revision, store, limits=limits)


async def test_what_tools_leave_in_a_plain_folder_is_not_reviewed(project: Path, store: ArtifactStore):
    for junk in (".venv/lib/x.py", "env/x.py", "node_modules/x.py", "__pycache__/x.py", ".tox/x.py"):
        (project / junk).parent.mkdir(parents=True, exist_ok=True)
        (project / junk).touch()
    (project / "env/pyvenv.cfg").touch()

    manifest = await take_snapshot(str(project), None, store)

    assert not [path for path in paths(manifest) if path.endswith("x.py")]


async def test_a_work_tree_is_taken_as_it_lies_without_what_it_ignores(repository: Path, store: ArtifactStore):
    (repository / ".gitignore").write_text("secret.py\n")
    (repository / "secret.py").touch()
    (repository / "new.py").write_text("x = 1\n")
    (repository / "shop/backup.py").unlink()

    manifest = await take_snapshot(str(repository), None, store)

    assert "new.py" in paths(manifest)
    assert "secret.py" not in paths(manifest)
    assert "shop/backup.py" not in paths(manifest)
    assert manifest.source["kind"] == "path"
    assert manifest.source["modified"] is True
    assert manifest.source["revision"] == git(repository, "rev-parse", "HEAD")


async def test_a_clean_work_tree_is_not_modified(repository: Path, store: ArtifactStore):
    manifest = await take_snapshot(str(repository), None, store)

    assert manifest.source["modified"] is False


async def test_a_folder_within_a_repository_is_reviewed_alone(repository: Path, store: ArtifactStore):
    (repository / "tests/test_orders.py").write_text("changed = True\n")

    manifest = await take_snapshot(str(repository / "shop"), None, store)
    committed = await take_snapshot(str(repository / "shop"), "main", store)

    assert "orders.py" in paths(manifest)
    assert paths(manifest) == paths(committed)
    assert manifest.source["modified"] is False


async def test_a_folder_that_its_repository_ignores_is_reviewed_as_a_plain_one(repository: Path, store: ArtifactStore):
    (repository / ".gitignore").write_text("build/\n")
    (repository / "build").mkdir()
    (repository / "build/made.py").write_text("x = 1\n")

    manifest = await take_snapshot(str(repository / "build"), None, store)

    assert paths(manifest) == ["made.py"]


async def test_branches_tags_hashes_and_ancestors_are_found_at_a_url(repository: Path, store: ArtifactStore):
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "one")
    (repository / "later.py").write_text("x = 1\n")
    second = commit_all(repository, "Later")
    git(repository, "branch", "feature/x", first)

    url = f"file://{repository}"
    wanted = {"v1": first, "feature/x": first, first: first, first[:9]: first, "main~1": first, "HEAD~1": first}
    found = {name: (await take_snapshot(url, name, store)).source["revision"] for name in wanted}

    assert found == wanted
    assert (await take_snapshot(url, None, store)).source["revision"] == second


@pytest.mark.parametrize("revision", ["no-such-branch", "0" * 40, "deadbeef", "main~99"])
async def test_an_unknown_revision_is_named(repository: Path, store: ArtifactStore, revision: str):
    for source in (str(repository), f"file://{repository}"):
        with pytest.raises(UnknownRevision, match=revision):
            await take_snapshot(source, revision, store)


async def test_a_plain_folder_has_no_revisions(project: Path, store: ArtifactStore):
    with pytest.raises(UnknownRevision, match="no git repository"):
        await take_snapshot(str(project), "main", store)


async def test_an_address_without_a_repository_is_named_with_its_place(project: Path, store: ArtifactStore):
    wanted = re.escape(f"no git repository answers at 'file://{project}' ('shop' does not") + ".*check the address"

    with pytest.raises(UnreachableSource, match=wanted):
        await take_snapshot(f"file://{project}", None, store)


async def test_an_address_where_nobody_listens_is_named(store: ArtifactStore):
    with pytest.raises(UnreachableSource, match=re.escape("http://127.0.0.1:9/shop")):
        await take_snapshot("http://127.0.0.1:9/shop", None, store)


async def test_an_empty_repository_is_named(tmp_path: Path, store: ArtifactStore):
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")

    for source, revision in ((str(empty), None), (str(empty), "HEAD"), (f"file://{empty}", None)):
        with pytest.raises(EmptySource, match="'empty'"):
            await take_snapshot(source, revision, store)


async def test_an_empty_folder_is_named(tmp_path: Path, store: ArtifactStore):
    (tmp_path / "nothing").mkdir()

    with pytest.raises(EmptySource, match="'nothing' holds no files"):
        await take_snapshot(str(tmp_path / "nothing"), None, store)


async def test_submodules_are_named_and_not_fetched(repository: Path, tmp_path: Path, store: ArtifactStore):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.py").write_text("x = 1\n")
    commit_all(other)
    git(repository, "submodule", "--quiet", "add", str(other), "vendored")
    commit_all(repository, "Vendor")

    for source, revision in ((str(repository), None), (str(repository), "HEAD"), (f"file://{repository}", None)):
        manifest = await take_snapshot(source, revision, store)
        assert "a submodule" in reasons(manifest)["vendored"]
        assert "vendored/x.py" not in paths(manifest)


async def test_nothing_that_the_repository_configures_is_executed(
    repository: Path, tmp_path: Path, store: ArtifactStore
):
    witness = tmp_path / "executed"
    script = tmp_path / "run.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py filter=evil diff=evil export-subst\n")
    commit_all(repository, "Attributes")
    for setting in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "core.pager"):
        git(repository, "config", setting, str(script))
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        shutil.copy(script, repository / ".git/hooks" / hook)
    (repository / "shop/orders.py").write_text("changed = 1\n")

    await take_snapshot(str(repository), None, store)
    await take_snapshot(str(repository), "HEAD", store)
    await take_snapshot(f"file://{repository}", None, store)

    assert not witness.exists()


async def test_names_that_no_other_machine_can_hold_are_skipped(project: Path, store: ArtifactStore):
    (project / "back\\slash.py").write_text("x = 1\n")
    (project / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")

    manifest = await take_snapshot(str(project), None, store)

    assert reasons(manifest)["back\\slash.py"] == "its name is not portable"
    assert reasons(manifest)["caf\\xe9.py"] == "its name is not UTF-8"


async def test_cancelling_ends_a_fetch_that_hangs(store: ArtifactStore):
    asked, ended = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        while await reader.read(1024):
            pass
        ended.set()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        running = asyncio.ensure_future(take_snapshot(f"git://127.0.0.1:{port}/shop", None, store))
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # Only when git has gone is its connection closed.
        await ended.wait()


async def test_a_tracked_file_behind_a_link_to_elsewhere_is_not_read(
    repository: Path, tmp_path: Path, store: ArtifactStore
):
    shutil.move(repository / "shop", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "orders.py").write_text("SECRET = 1\n")
    (repository / "shop").symlink_to(tmp_path / "elsewhere")

    manifest = await take_snapshot(str(repository), None, store)

    assert not [path for path in paths(manifest) if path.startswith("shop/")]
    assert reasons(manifest)["shop/orders.py"] == "its folder is a symbolic link"


async def test_names_that_no_file_system_takes_are_left_out_of_a_commit(repository: Path, store: ArtifactStore):
    blob = git(repository, "rev-parse", "HEAD:shop/orders.py")
    for name in ("a" * 300 + ".py", "/".join(["folder"] * 600) + "/b.py"):
        git(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    git(repository, "commit", "--quiet", "-m", "Long names")

    manifest = await take_snapshot(str(repository), "HEAD", store)

    assert max(map(len, paths(manifest))) < 255
    assert list(reasons(manifest).values()).count("its name is not portable") == 2
