"""The plugin: listens to how runs and tasks end, for the note of a run and for the journal."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_coterie import note, seen

__all__ = ["CoteriePlugin"]


class CoteriePlugin(AirflowPlugin):
    """Found by the entry point `airflow.plugins`."""

    name = "coterie"
    listeners = [note, seen]  # noqa: RUF012  # Airflow's own form
