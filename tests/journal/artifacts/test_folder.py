"""Blobs in a folder: on the disk before they are seen, whole whatever happens, and never outside."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
from pathlib import Path

import pytest

from coterie.errors import ForbiddenLocation, Unavailable
from coterie.ports import Blob
from coterie.stores.blobs import FsspecBlobs


class TestFiles:
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> FsspecBlobs:
        return FsspecBlobs(f"file://{tmp_path}/blobs")

    def test_a_write_that_fails_leaves_no_file_at_all(self, blobs: FsspecBlobs, tmp_path: Path):
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            blobs.write("a/one", Broken())

        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_what_a_killed_writer_left_is_listed_as_unfinished_and_can_be_deleted(
        self, blobs: FsspecBlobs, tmp_path: Path
    ):
        blobs.write("a/one", io.BytesIO(b"whole"))
        (tmp_path / "blobs" / "a" / "one.0a1b.partial").write_bytes(b"half")

        listed = {blob.upload: blob for blob in blobs.entries("a")}

        assert set(listed) == {None, "0a1b"}
        assert (listed["0a1b"].name, listed["0a1b"].size_bytes) == ("a/one", 4)
        assert blobs.delete([listed["0a1b"]]) == [listed["0a1b"]]
        assert [path.name for path in (tmp_path / "blobs" / "a").iterdir()] == ["one"]

    def test_an_unfinished_write_that_goes_on_is_not_deleted(self, blobs: FsspecBlobs, tmp_path: Path):
        blobs.write("a/one", io.BytesIO(b"whole"))
        partial = tmp_path / "blobs" / "a" / "one.0a1b.partial"
        partial.write_bytes(b"half")
        os.utime(partial, (1.0, 1.0))
        listed = [blob for blob in blobs.entries("a") if blob.upload]
        partial.write_bytes(b"more")

        assert list(blobs.delete(listed)) == []
        assert partial.exists()

    def test_hidden_files_and_links_are_not_listed(self, blobs: FsspecBlobs, tmp_path: Path):
        blobs.write("a/one", io.BytesIO(b"x"))
        folder = tmp_path / "blobs" / "a"
        (folder / ".hidden").write_bytes(b"x")
        (folder / "file").symlink_to(folder / "one")
        (folder / "folder").symlink_to(tmp_path)
        os.mkfifo(folder / "pipe")

        assert [blob.name for blob in blobs.entries("a")] == ["a/one"]

    def test_an_object_is_on_the_disk_before_it_is_visible_and_its_name_before_it_is_acknowledged(
        self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch
    ):
        done: list[str] = []
        fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

        def watched_fsync(descriptor: int) -> None:
            fsync(descriptor)
            done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "replace", lambda *a, **more: (replace(*a, **more), done.append("rename"))[0])
        monkeypatch.setattr(os, "mkdir", lambda *a, **more: (mkdir(*a, **more), done.append("made"))[0])

        blobs.write("a/one", io.BytesIO(b"x"))
        first, done[:] = list(done), []
        blobs.write("a/one", io.BytesIO(b"y"))
        second, done[:] = list(done), []
        blobs.refresh("a/one")

        assert second == ["file", "rename", "folder"]
        # Each folder that was made, the root among them, is in its own folder for good.
        assert first == ["made", "folder"] * (first.count("made")) + second
        assert first.count("made") == 2
        # Whoever finds it there may rely on it: its writer may not have come so far.
        assert done == ["folder"]

    def test_a_folder_that_has_not_changed_is_not_written_to_the_disk_again(
        self, blobs: FsspecBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        blobs.write("a/one", io.BytesIO(b"x"))
        synced: list[int] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor))[1])
        os.utime(tmp_path / "blobs" / "a", (1.0, 1.0))

        for _ in range(3):
            blobs.refresh("a/one")
        assert len(synced) == 1
        (tmp_path / "blobs" / "a" / "two").write_bytes(b"by another process")
        blobs.refresh("a/one")
        assert len(synced) == 2

    def test_a_disk_that_cannot_keep_it_is_a_store_that_failed(
        self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch
    ):
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        blobs.write("a/one", io.BytesIO(b"old"))
        monkeypatch.setattr(os, "fsync", full)

        with pytest.raises(Unavailable, match="No space left"):
            blobs.write("a/one", io.BytesIO(b"new"))

        assert b"".join(blobs.chunks("a/one")) == b"old"
        assert [blob.upload for blob in blobs.entries("a")] == [None]

    @pytest.mark.parametrize("failure", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
    def test_a_file_system_without_locks_will_do(
        self, blobs: FsspecBlobs, monkeypatch: pytest.MonkeyPatch, failure: int
    ):
        def without(descriptor: int, kind: int) -> None:
            raise OSError(failure, os.strerror(failure))

        monkeypatch.setattr(fcntl, "flock", without)

        blobs.write("a/one", io.BytesIO(b"x"))
        assert blobs.refresh("a/one")
        assert len(blobs.delete(list(blobs.entries("a")))) == 1
        assert blobs.size_bytes("a/one") is None


# Links below the root, each made as somebody would who can write there.

LINKS = {
    "a folder that points out": lambda root, outside: (root / "a").symlink_to(outside),
    "a folder that points elsewhere inside": lambda root, outside: (root / "a").symlink_to(root / "b"),
    "a folder that points up": lambda root, outside: (root / "a").symlink_to(".."),
    "a file that points out": lambda root, outside: (
        (root / "a").mkdir(),
        (root / "a" / "one").symlink_to(outside / "one"),
    ),
    "a file that points nowhere": lambda root, outside: (
        (root / "a").mkdir(),
        (root / "a" / "one").symlink_to(outside / "none"),
    ),
}


@pytest.mark.parametrize("how", LINKS)
def test_a_link_below_the_root_leads_nowhere(tmp_path: Path, how: str):
    root, outside = tmp_path / "blobs", tmp_path / "outside"
    for folder in (root / "b", outside):
        folder.mkdir(parents=True)
        (folder / "one").write_bytes(b"secret")
    LINKS[how](root, outside)
    blobs = FsspecBlobs(str(root))
    before = {path: path.read_bytes() for path in tmp_path.rglob("one") if not path.is_symlink()}
    is_file = "file" in how

    for ask in (lambda: blobs.size_bytes("a/one"), lambda: list(blobs.chunks("a/one"))):
        with pytest.raises(ForbiddenLocation, match=r"leads over a symbolic link below .*; nothing there may be one"):
            ask()
    if is_file:
        # The link itself is replaced, or gets a new age; what it points at does not.
        blobs.refresh("a/one")
        blobs.write("a/one", io.BytesIO(b"ours"))
        assert not (root / "a" / "one").is_symlink()
    else:
        for ask in (
            lambda: blobs.write("a/one", io.BytesIO(b"x")),
            lambda: blobs.write("a/new", io.BytesIO(b"x")),
            lambda: blobs.refresh("a/one"),
            lambda: blobs.delete([Blob("a/one", 6, 1.0)]),
            lambda: list(blobs.entries("a")),
        ):
            with pytest.raises(ForbiddenLocation, match="leads over a symbolic link"):
                ask()

    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in outside.iterdir()) == ["one"]


def test_the_root_itself_may_be_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    blobs = FsspecBlobs(f"file://{tmp_path}/link")

    blobs.write("a/one", io.BytesIO(b"x"))

    assert (tmp_path / "real" / "a" / "one").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_a_store_that_failed(tmp_path: Path, kind: str):
    place = tmp_path / "a" / "one"
    place.parent.mkdir()
    place.mkdir() if kind == "folder" else os.mkfifo(place)
    blobs = FsspecBlobs(str(tmp_path))

    for ask in (lambda: blobs.size_bytes("a/one"), lambda: list(blobs.chunks("a/one"))):
        with pytest.raises(Unavailable, match="not a file"):
            ask()


@pytest.mark.parametrize("name", ["run#1", "a?b", "50%25", "sp ace", "a:b@c"])
@pytest.mark.parametrize("scheme", ["", "file://", "file:", "file://localhost"])
def test_a_folder_is_taken_as_it_is_written(tmp_path: Path, scheme: str, name: str):
    blobs = FsspecBlobs(f"{scheme}{tmp_path}/{name}/blobs")

    blobs.write("one", io.BytesIO(b"content"))

    assert (tmp_path / name / "blobs" / "one").read_bytes() == b"content"
    assert FsspecBlobs(blobs.root).size_bytes("one") == len(b"content")
