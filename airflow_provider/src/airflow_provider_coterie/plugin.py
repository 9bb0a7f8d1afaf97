"""The plugin: writes a run's status into its note, where people look."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_coterie import note

__all__ = ["CoteriePlugin"]


class CoteriePlugin(AirflowPlugin):
    """Found by the entry point `airflow.plugins`."""

    name = "coterie"
    listeners = [note]  # noqa: RUF012  # Airflow's own form
