"""Run git on repositories that nobody vouches for.

No hook, filter, submodule, external transport, pager or credential prompt can run, whatever the repository's
own configuration says; neither the machine's nor the user's configuration is read. What remains is git's own
code, a network connection by one of `TRANSPORTS`, ssh in batch mode, and ~/.netrc.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coterie.command import CommandOutput
from coterie.teams.code_review.errors import (
    EmptySource,
    SourceTooLarge,
    ToolFailed,
    UnknownRevision,
    UnreachableSource,
)
from coterie.teams.code_review.location import TRANSPORTS, Remote
from coterie.teams.code_review.process import complaint, run_program

__all__ = ["Git", "TreeEntry", "Untracked", "fetch_commit"]

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.symlinks=false",
    "core.attributesFile=/dev/null",
    "core.pager=cat",
    "credential.helper=",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "maintenance.auto=false",
    "protocol.allow=never",
    "protocol.ext.allow=never",
    "safe.directory=*",
    "submodule.recurse=false",
)
_FETCHING = tuple(f"protocol.{name}.allow=always" for name in TRANSPORTS)
_CLOSED = re.compile(rb"^warning: could not open directory '(.+)/': (.+)$", re.MULTILINE)
_HEX = re.compile(r"[0-9a-f]{4,64}")
_MAX_FETCHED_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A line of a tree or of the index. `path` are git's own bytes; `size_bytes` None where git has none."""

    mode: str
    object_id: str
    path: bytes
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Untracked:
    """Paths, of which a nested repository ends with `/`; folders that git may not open, and why."""

    paths: list[bytes]
    closed: Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class Git:
    """Git commands in one folder. `timeout_s` bounds each of them."""

    folder: Path
    timeout_s: float = 600.0

    async def commit_of(self, revision: str) -> str | None:
        """The full hash of the commit that `revision` names here, or None."""
        peeled = f"{revision}^{{commit}}"
        found = await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", peeled)
        return found.stdout.decode().strip() or None if found.exit_code == 0 else None

    async def is_work_tree(self) -> bool:
        """Whether the folder lies in a work tree of a repository."""
        found = await self._run("rev-parse", "--is-inside-work-tree")
        return found.exit_code == 0 and found.stdout.strip() == b"true"

    async def is_bare(self) -> bool:
        """Whether the folder itself is a repository without a work tree."""
        found = await self._run("rev-parse", "--is-bare-repository", "--absolute-git-dir")
        lines = found.stdout.splitlines()
        return found.exit_code == 0 and lines[0] == b"true" and Path(os.fsdecode(lines[1])) == self.folder.resolve()

    async def tree(self, commit: str) -> list[TreeEntry]:
        """Every file of a commit below the folder."""
        found = await self._checked("ls-tree", "-r", "-l", "-z", "--end-of-options", commit)
        return [_tree_entry(line) for line in found.stdout.split(b"\0") if line]

    async def tracked(self) -> list[TreeEntry]:
        """Every file of the index below the folder."""
        found = await self._checked("ls-files", "-z", "--cached", "--stage")
        entries = [_index_entry(line) for line in found.stdout.split(b"\0") if line]
        # An unfinished merge lists a path once for each side.
        return list({entry.path: entry for entry in entries}.values())

    async def untracked(self) -> Untracked:
        """What lies below the folder and is neither tracked nor ignored."""
        found = await self._checked("ls-files", "-z", "--others", "--exclude-standard")
        closed = _CLOSED.findall(found.stderr)
        # Git says where from the top of the work tree, which need not be the folder.
        prefix = (await self._checked("rev-parse", "--show-prefix")).stdout.rstrip(b"\n") if closed else b""
        return Untracked(
            [path for path in found.stdout.split(b"\0") if path],
            {path.removeprefix(prefix): reason.decode("utf-8", "replace") for path, reason in closed},
        )

    async def copy_blobs(self, object_ids: list[str], target: Path) -> None:
        """Write `git cat-file --batch` of the objects to `target`: a header line, the bytes, a line feed, each."""
        wanted = "".join(f"{object_id}\n" for object_id in object_ids).encode()
        script = 'exec "$@" > "$COTERIE_TARGET"'
        argv = ["/bin/sh", "-c", script, "sh", *self._argv("cat-file", "--batch", "--buffer")]
        env = _environment() | {"COTERIE_TARGET": str(target)}
        done = await run_program(
            argv, name="git cat-file", cwd=self.folder, env=env, timeout_s=self.timeout_s, stdin=wanted
        )
        _check(done, "cat-file")

    async def init_bare(self) -> None:
        """Make the folder an empty repository without templates."""
        await self._checked("init", "--quiet", "--bare", "--template=", "--initial-branch=main", ".")

    async def references(self, remote: Remote, *patterns: str) -> dict[str, str]:
        """Names and hashes of the remote's references, those that end with a pattern if any is given.

        Raises:
            UnreachableSource: no git repository answers there.
        """
        found = await self._run("ls-remote", "--quiet", "--end-of-options", remote.url, *patterns, fetching=True)
        if found.exit_code != 0:
            raise _unreachable(remote, found)
        pairs = [line.split("\t", 1) for line in found.stdout.decode("utf-8", "replace").splitlines()]
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    async def fetch(self, remote: Remote, *refspecs: str, depth: int | None) -> bool:
        """Fetch; False if the remote refuses. `depth` None takes the whole history."""
        shallow = [] if depth is None else [f"--depth={depth}"]
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", *shallow]
        done = await self._run("fetch", *options, "--end-of-options", remote.url, *refspecs, fetching=True)
        if b"File too large" in done.stderr or b"signal 25" in done.stderr:
            raise SourceTooLarge(
                f"the repository {remote.name!r} sends more than {_MAX_FETCHED_BYTES} bytes; "
                "review a local clone, or a part of it"
            )
        return done.exit_code == 0

    def _argv(self, command: str, *arguments: str, fetching: bool = False) -> list[str]:
        settings = [*_SETTINGS, *(_FETCHING if fetching else ())]
        flags = [part for setting in settings for part in ("-c", setting)]
        return ["git", "--no-pager", "--no-replace-objects", *flags, command, *arguments]

    async def _run(self, command: str, *arguments: str, fetching: bool = False) -> CommandOutput:
        argv = self._argv(command, *arguments, fetching=fetching)
        env = _environment(fetching=fetching)
        return await run_program(
            argv,
            name=f"git {command}",
            cwd=self.folder,
            env=env,
            timeout_s=self.timeout_s,
            max_file_bytes=_MAX_FETCHED_BYTES if fetching else None,
        )

    async def _checked(self, command: str, *arguments: str) -> CommandOutput:
        done = await self._run(command, *arguments)
        _check(done, command)
        return done


async def fetch_commit(git: Git, remote: Remote, revision: str | None) -> str:
    """Fetch one commit into the empty repository of `git`, as little else as the server allows.

    Returns its full hash.

    Raises:
        UnreachableSource, EmptySource, UnknownRevision.
    """
    wanted = revision or "HEAD"
    reference = _chosen(await git.references(remote, wanted), wanted)
    if reference is None and not await git.references(remote):
        raise EmptySource(f"the repository {remote.name!r} has no commits; push one, or name another source")
    fetched = reference is not None and await git.fetch(remote, f"+{reference}:refs/coterie/source", depth=1)
    commit = await git.commit_of("refs/coterie/source") if fetched else await _fetch_by_hash(git, remote, wanted)
    if commit is None:
        raise UnknownRevision(
            f"the repository {remote.name!r} has no revision {wanted!r}; give one of its branches, tags or commits"
        )
    return commit


async def _fetch_by_hash(git: Git, remote: Remote, wanted: str) -> str | None:
    if not _HEX.fullmatch(wanted) and not re.search(r"[~^]", wanted):
        return None
    if len(wanted) in (40, 64) and await git.fetch(remote, f"+{wanted}:refs/coterie/source", depth=1):
        return await git.commit_of(wanted)
    # Servers give out a whole hash at most; an abbreviation or an ancestor needs the history.
    everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+HEAD:refs/coterie/source")
    if not await git.fetch(remote, *everything, depth=None):
        return None
    return await git.commit_of(re.sub(r"^HEAD(?=[~^])", "refs/coterie/source", wanted))


def _chosen(references: Mapping[str, str], wanted: str) -> str | None:
    """As git itself reads a name: a tag before a branch of the same name."""
    candidates = (wanted, f"refs/tags/{wanted}", f"refs/heads/{wanted}")
    names = candidates if wanted == "HEAD" or wanted.startswith("refs/") else candidates[1:]
    return next((name for name in names if name in references), None)


def _environment(*, fetching: bool = False) -> dict[str, str]:
    """The caller's environment without git's variables, but for those that say how to reach a server."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(("GIT_SSL_", "GIT_PROXY_SSL_"))
    }
    return kept | {
        "GIT_ALLOW_PROTOCOL": ":".join(TRANSPORTS) if fetching else "none",
        "GIT_ASKPASS": "true",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oPermitLocalCommand=no -oClearAllForwardings=yes -oConnectTimeout=30",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "SSH_ASKPASS": "true",
    }


def _tree_entry(line: bytes) -> TreeEntry:
    facts, _, path = line.partition(b"\t")
    mode, _, object_id, size = facts.decode().split()
    return TreeEntry(mode, object_id, path, None if size == "-" else int(size))


def _index_entry(line: bytes) -> TreeEntry:
    facts, _, path = line.partition(b"\t")
    mode, object_id, _ = facts.decode().split()
    return TreeEntry(mode, object_id, path)


def _check(done: CommandOutput, command: str) -> None:
    if done.exit_code != 0:
        raise ToolFailed(f"git {command} failed: {complaint(done)!r}; check the repository with git fsck")


def _unreachable(remote: Remote, done: CommandOutput) -> UnreachableSource:
    said = done.stderr.decode("utf-8", "replace").splitlines()
    first = next((line.removeprefix("fatal: ") for line in said if line.startswith("fatal: ")), complaint(done))
    place = remote.url.removeprefix("file://")
    reason = first.replace(remote.url, remote.name).replace(place, remote.name)
    return UnreachableSource(
        f"no git repository answers at {remote.place!r} ({reason[:200]}); check the address and your access to it"
    )
