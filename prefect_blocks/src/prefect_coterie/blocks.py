"""Blocks: a team and an artifact store, configured once on the Prefect server and used by name.

A block type is known by its slug, and its schema by the order of its fields: neither ever changes. A new field goes
to the end and has a default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, HttpUrl, field_validator

from coterie.ids import check_name
from prefect_coterie.appearance import DOCUMENTATION, LOGO
from prefect_coterie.state_block import CoterieStore

if TYPE_CHECKING:
    from coterie import ArtifactStore, Team
    from coterie.sync import ArtifactStore as BlockingArtifactStore

__all__ = ["CoterieArtifacts", "CoterieTeam"]


class CoterieTeam(Block):
    """A coterie team: agents with their policies, imported where they run."""

    _block_type_name: ClassVar[str] = "Coterie Team"
    _block_type_slug: ClassVar[str] = "coterie-team"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Load a team and run one of its agents:

```python
from prefect import flow
from prefect_coterie import CoterieTeam, arun_agent


@flow
async def lint(source: str):
    team = await CoterieTeam.aload("BLOCK_NAME")
    return await arun_agent("linter", {"source": source}, team=team)
```

Outside of an event loop:

```python
from prefect_coterie import CoterieTeam

team = CoterieTeam.load("BLOCK_NAME")
```
"""

    team_path: str = Field(
        description="Where the team lies: 'package.module:team', or the path of a YAML file.",
    )
    namespace: str = Field(
        default="default",
        description="Keeps the identities of separate deployments apart.",
    )
    store: CoterieStore | None = Field(
        default=None,
        description="Where the team's policies count, for all that share it; by default what COTERIE_STORE says.",
    )
    graceful_shutdown_timeout_s: float | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="How many seconds agents that are at work may go on after SIGTERM; by default what "
        "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S says, or 10.",
    )

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        return check_name(value, "namespace")

    def get_team(self) -> Team:
        """Import the team.

        Raises:
            Misuse: there is nothing at the path, or it is not a team.
        """
        from coterie import Team

        return Team.load(self.team_path)


class CoterieArtifacts(Block):
    """Where a coterie team keeps its payloads: any location that fsspec knows."""

    _block_type_name: ClassVar[str] = "Coterie Artifacts"
    _block_type_slug: ClassVar[str] = "coterie-artifacts"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Read the report behind a reference:

```python
from prefect_coterie import CoterieArtifacts

artifacts = CoterieArtifacts.load("BLOCK_NAME")
report = artifacts.get_blocking_store().load(reference)
```
"""

    url: str = Field(
        description="An absolute URL without credentials, such as 's3://bucket/coterie' or 'file:///srv/coterie'.",
    )
    namespace: str = Field(
        default="default",
        description="Keeps the artifacts of separate deployments apart; part of every object's name.",
    )
    storage_options: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="Options of the fsspec driver, credentials among them; by default the driver's environment.",
    )
    shared_file_system: bool = Field(
        default=False,
        description="Whether a 'file://' location is mounted wherever tasks run, such as on NFS.",
    )

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        return check_name(value, "namespace")

    def block_initialization(self) -> None:
        """Refuse what belongs into the secret field; not in a validator, whose errors show the value.

        Raises:
            Misuse: the URL carries credentials.
        """
        from coterie.stores.blobs.opening import refuse_credentials

        refuse_credentials(self.url)

    @property
    def scheme(self) -> str:
        """The URL's scheme; `file` for a plain path."""
        return urlsplit(self.url).scheme or "file"

    def get_store(self) -> ArtifactStore:
        """The store, for coroutines.

        Raises:
            Misuse: the URL carries credentials, is relative, or its scheme has no driver here.
        """
        from coterie import ArtifactStore
        from coterie.stores.blobs import FsspecBlobs

        blobs = FsspecBlobs(self.url, options=self.storage_options.get_secret_value())
        return ArtifactStore(blobs, namespace=self.namespace)

    def get_blocking_store(self) -> BlockingArtifactStore:
        """The store, for code that cannot await; see `get_store`."""
        from coterie.sync import ArtifactStore as BlockingArtifactStore

        return BlockingArtifactStore(self.get_store())
