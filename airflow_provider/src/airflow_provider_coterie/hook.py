"""The connection of type `coterie`: where outputs go, in which namespace, and which team works."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_coterie.executor import executor_of, is_in_process, require_shared_store
from coterie import ArtifactStore, Ref, Runtime, Team, sync
from coterie.errors import CoterieError, Misuse

__all__ = ["DEFAULT_CONN_ID", "CoterieHook", "CoterieSettings"]

DEFAULT_CONN_ID = "coterie_default"


@dataclass(frozen=True, slots=True)
class CoterieSettings:
    """What a connection of type `coterie` says. It holds nothing secret."""

    artifacts: str
    namespace: str = "default"
    team_path: str | None = None
    shared_file_system: bool = False


class CoterieHook(BaseHook):
    """Opens what a connection of type `coterie` describes.

    Where the default connection does not exist, the environment variables `COTERIE_ARTIFACTS` and
    `COTERIE_NAMESPACE` stand for it.
    """

    conn_name_attr = "coterie_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "coterie"
    hook_name = "Coterie"

    def __init__(self, coterie_conn_id: str = DEFAULT_CONN_ID, *, executor: str | None = None) -> None:
        super().__init__()
        self.coterie_conn_id = coterie_conn_id
        self._executor = executor
        self._settings: CoterieSettings | None = None

    @property
    def settings(self) -> CoterieSettings:
        """The connection's settings, read once.

        Raises:
            Misuse: there is no such connection, or it names no artifact store.
            PolicyError: the store cannot be seen by the run's other tasks under the configured executor.
        """
        if self._settings is None:
            settings = _read(self.coterie_conn_id)
            _check_reach(settings, self._executor)
            self._settings = settings
        return self._settings

    def get_conn(self) -> ArtifactStore:
        """The connection's artifact store."""
        return ArtifactStore(self.settings.artifacts, namespace=self.settings.namespace)

    def runtime(self, team: Team | str | None = None) -> Runtime:
        """A runtime for a team or the path of one, by default the connection's. The caller closes it.

        Raises:
            Misuse: no team is named, or there is none at the path.
        """
        known = team if isinstance(team, Team) else self.team(team)
        return Runtime(known, artifacts=self.settings.artifacts, namespace=self.settings.namespace)

    def team(self, team_path: str | None = None) -> Team:
        """The team at `team_path`, by default the connection's."""
        path = team_path or self.settings.team_path
        if not path:
            raise Misuse(
                f"neither the task nor the connection {self.coterie_conn_id!r} names a team; "
                "pass team_path='package.module:team'"
            )
        return Team.load(path)

    def load(self, ref: Ref) -> Any:
        """The JSON value behind a reference, verified; blocking."""
        return sync.ArtifactStore(self.get_conn()).load(ref)

    def test_connection(self) -> tuple[bool, str]:
        """Store a value and read it back; for the connection form's button."""
        probe = "coterie connection test: " + "." * 400
        try:
            store = sync.ArtifactStore(self.get_conn())
            store.load(store.put(probe))
        except CoterieError as error:
            return False, str(error)
        return True, f"stored and read back an object in {store.url!r}"


def _read(conn_id: str) -> CoterieSettings:
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        url = os.environ.get("COTERIE_ARTIFACTS")
        if conn_id == DEFAULT_CONN_ID and url:
            return CoterieSettings(url, os.environ.get("COTERIE_NAMESPACE") or "default")
        # The variable stands for the default connection alone.
        here = "; or, on one machine, set COTERIE_ARTIFACTS=file:///a/folder" if conn_id == DEFAULT_CONN_ID else ""
        raise Misuse(
            f"there is no connection {conn_id!r}; add one of type 'coterie' with an artifact store, for example "
            f"AIRFLOW_CONN_{conn_id.upper()}='"
            f'{{"conn_type": "coterie", "extra": {{"artifacts": "s3://bucket/prefix"}}}}\'{here}'
        ) from error
    extra = connection.extra_dejson
    url = extra.get("artifacts")
    if not url:
        raise Misuse(f"the connection {conn_id!r} names no artifact store; set 'artifacts' to a URL in it")
    return CoterieSettings(
        str(url),
        str(extra.get("namespace") or "default"),
        extra.get("team_path") or None,
        extra.get("shared_file_system") in (True, "true", "True", "1"),
    )


def _check_reach(settings: CoterieSettings, task_executor: str | None) -> None:
    if is_in_process():
        return
    from airflow.sdk import conf

    executor = executor_of(conf.get("core", "executor"), task_executor)
    require_shared_store(settings.artifacts, executor, shared_file_system=settings.shared_file_system)


def _default_store() -> ArtifactStore | None:
    try:
        return CoterieHook().get_conn()
    except Misuse:
        # Not set up: coterie's own message tells what it looked for.
        return None


# `Ref.load()` in a task that knows nothing of coterie reads through the default connection.
sync.add_artifacts_fallback(_default_store)
