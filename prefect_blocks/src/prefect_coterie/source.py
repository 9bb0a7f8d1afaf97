"""What flows are given for a team, its artifacts and its state: a block, a block's name, a path or a URL."""

from __future__ import annotations

import os
from typing import TypeAlias, TypeVar

from prefect.settings import get_current_settings

from coterie import Team
from coterie.errors import Misuse
from prefect_coterie.blocks import CoterieArtifacts, CoterieTeam
from prefect_coterie.state_block import CoterieStore

__all__ = [
    "ArtifactsSource",
    "StoreSource",
    "TeamSource",
    "artifacts_of",
    "block_of_store",
    "namespace_of",
    "open_team",
    "store_of",
    "store_of_events",
    "store_or_default",
    "team_of",
]

# A block; its name (`prod`, `coterie-team/prod`); a path (`package.module:team`, `team.yaml`); or the team itself.
TeamSource: TypeAlias = "CoterieTeam | Team | str"
# A block; its name (`prod`, `coterie-artifacts/prod`); or an absolute path or URL.
ArtifactsSource: TypeAlias = "CoterieArtifacts | str"
# A block; its name (`prod`, `coterie-store/prod`); or a URL.
StoreSource: TypeAlias = "CoterieStore | str"

B = TypeVar("B", CoterieTeam, CoterieArtifacts, CoterieStore)

_TEAM_SLUG = "coterie-team/"
_ARTIFACTS_SLUG = "coterie-artifacts/"
_STORE_SLUG = "coterie-store/"
# A file of this machine.
_DEFAULT_STORE = "sqlite://"


async def team_of(source: TeamSource) -> CoterieTeam | Team:
    """The block behind `source`; for a path, one that is not saved. A team stays itself.

    Raises:
        Misuse: it is not a team, or the server has no block of that name.
    """
    if isinstance(source, (CoterieTeam, Team)):
        return source
    _require_text(source, "team", "a path 'package.module:team', a CoterieTeam block or its name")
    if ":" in source or source.endswith((".yaml", ".yml")):
        return CoterieTeam(team_path=source, namespace=_namespace_here())
    return await _load(CoterieTeam, source.removeprefix(_TEAM_SLUG))


async def artifacts_of(source: ArtifactsSource | None) -> CoterieArtifacts:
    """The block behind `source`; for a URL, one that is not saved.

    None means `COTERIE_ARTIFACTS`, else a folder beside Prefect's own results on this machine.

    Raises:
        Misuse: it is no location, or the server has no block of that name.
    """
    if isinstance(source, CoterieArtifacts):
        return source
    if source is None:
        local = get_current_settings().results.local_storage_path / "coterie"
        url = os.environ.get("COTERIE_ARTIFACTS") or f"file://{local}"
        return CoterieArtifacts(url=url, namespace=_namespace_here())
    _require_text(source, "artifacts", "a URL, a CoterieArtifacts block or its name")
    if "://" in source or source.startswith("/"):
        return CoterieArtifacts(url=source)
    return await _load(CoterieArtifacts, source.removeprefix(_ARTIFACTS_SLUG))


async def store_of(source: StoreSource | None, team: CoterieTeam | Team) -> CoterieStore | None:
    """The block behind `source`; for a URL, one that is not saved. None for a team without policies: it keeps nothing.

    No source means the team block's own store, `COTERIE_STORE`, or a file of this machine, in this order.

    Raises:
        Misuse: it is no store, or the server has no block of that name; or there is no such team.
    """
    if not open_team(team).policies:
        return None
    if source is None:
        return store_or_default(team.store if isinstance(team, CoterieTeam) else None, namespace_of(team))
    return await block_of_store(source, team)


async def store_of_events(source: StoreSource | None) -> CoterieStore:
    """The block behind `source`, where the bus is; by default one for `COTERIE_STORE`, or a file of this machine.

    Raises:
        Misuse: it is no store, or the server has no block of that name.
    """
    return store_or_default(None) if source is None else await _block_of(source, _namespace_here())


async def block_of_store(source: StoreSource, team: CoterieTeam | Team) -> CoterieStore:
    """The block behind `source`; for a URL, one that is not saved.

    Raises:
        Misuse: it is no store, or the server has no block of that name.
    """
    return await _block_of(source, namespace_of(team))


async def _block_of(source: StoreSource, namespace: str) -> CoterieStore:
    if isinstance(source, CoterieStore):
        return source
    _require_text(source, "store", "a URL, a CoterieStore block or its name")
    if "://" in source:
        return CoterieStore.from_url(source, namespace=namespace, named_by="the flow's code")
    return await _load(CoterieStore, source.removeprefix(_STORE_SLUG))


def store_or_default(store: CoterieStore | None, namespace: str | None = None) -> CoterieStore:
    """The block, else one for `COTERIE_STORE`, else for a file of this machine; those of the given namespace."""
    if store is not None:
        return store
    url = os.environ.get("COTERIE_STORE") or _DEFAULT_STORE
    return CoterieStore.from_url(url, namespace=namespace or _namespace_here(), named_by="COTERIE_STORE")


def open_team(team: CoterieTeam | Team) -> Team:
    """The team itself, imported if need be; see `CoterieTeam.get_team`."""
    return team if isinstance(team, Team) else team.get_team()


def namespace_of(team: CoterieTeam | Team) -> str:
    """The namespace of the team's identities: a block's own, else `COTERIE_NAMESPACE`, as on every engine."""
    return _namespace_here() if isinstance(team, Team) else team.namespace


def _namespace_here() -> str:
    return os.environ.get("COTERIE_NAMESPACE") or "default"


async def _load(block: type[B], name: str) -> B:
    try:
        return await block.aload(name)
    except ValueError as error:
        slug = block.get_block_type_slug()
        raise Misuse(
            f"no block {slug}/{name!r} can be loaded: {error}; save one of that name, or pass a path or URL"
        ) from error


def _require_text(source: object, what: str, kinds: str) -> None:
    if not isinstance(source, str) or not source:
        raise Misuse(f"{what} is {source!r}; pass {kinds}")
