"""What this distribution tells Airflow about itself."""

from __future__ import annotations

from typing import Any

__all__ = ["get_provider_info"]

_TEXT = {"type": ["string", "null"]}
_PACKAGE = "airflow_provider_coterie"


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in the form of `airflow/provider_info.schema.json`. Imports nothing."""
    return {
        "package-name": "airflow-provider-coterie",
        "name": "Coterie",
        "description": "Coordinate a team of agents: run `coterie` plans as DAGs.",
        "integrations": [{"integration-name": "Coterie"}],
        "connection-types": [_connection_type()],
        "hooks": [{"integration-name": "Coterie", "python-modules": [f"{_PACKAGE}.hook"]}],
        "operators": [{"integration-name": "Coterie", "python-modules": _operator_modules()}],
        "sensors": [{"integration-name": "Coterie", "python-modules": _sensor_modules()}],
        "triggers": [{"integration-name": "Coterie", "python-modules": _trigger_modules()}],
        "extra-links": [f"{_PACKAGE}.trace_link.CoterieTraceLink"],
        "queues": [f"{_PACKAGE}.events.queue_provider.CoterieMessageQueueProvider"],
        "task-decorators": [{"name": "coterie_agent", "class-name": f"{_PACKAGE}.decorator.coterie_agent_task"}],
        "plugins": [{"name": "coterie", "plugin-class": f"{_PACKAGE}.plugin.CoteriePlugin"}],
    }


def _operator_modules() -> list[str]:
    return [
        *(
            f"{_PACKAGE}.operators.{name}"
            for name in (
                "agent",
                "approval",
                "decompose",
                "foreach",
                "machine",
                "result",
                "saga_result",
                "workflow",
            )
        ),
        f"{_PACKAGE}.events.publish_operator",
    ]


def _sensor_modules() -> list[str]:
    return [f"{_PACKAGE}.{name}" for name in ("events.sensor", "sensors")]


def _trigger_modules() -> list[str]:
    return [
        f"{_PACKAGE}.{name}"
        for name in ("events.trigger", "events.wait_trigger", "machine_trigger", "remote.call_trigger", "triggers")
    ]


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "coterie",
        "hook-class-name": f"{_PACKAGE}.hook.CoterieHook",
        "hook-name": "Coterie",
        "conn-fields": {
            "artifacts": {
                "label": "Artifact store",
                "description": "URL for outputs, such as s3://bucket/prefix. Credentials come from the driver's "
                "environment, never from here.",
                "schema": _TEXT,
            },
            "store": {
                "label": "State store",
                "description": "URL of the state that all tasks share: the journal, events, calls of remote workers, "
                "and a team's breakers, pools, limits and budgets; such as rediss://host:6379/0. Its password goes "
                "into the password field.",
                "schema": _TEXT,
            },
            "journal": {
                "label": "Journal",
                "description": "Keeps what is finished beside the state, so that no retry pays for it again. 'strict': "
                "it survives a power cut; 'relaxed': the end of any process; 'off': it is not kept.",
                "schema": {"type": ["string", "null"], "enum": ["strict", "relaxed", "off", None], "default": "strict"},
            },
            "graceful_shutdown_timeout_s": {
                "label": "Seconds to finish after SIGTERM",
                "description": "How long agents that are at work may go on when their worker is shut down, or a person "
                "ends the task; 2 if empty. Airflow kills the latter after 5 seconds.",
                "schema": {"type": ["number", "string", "null"]},
            },
            "namespace": {
                "label": "Namespace",
                "description": "Keeps deployments that share a store apart; 'default' if empty.",
                "schema": _TEXT,
            },
            "team_path": {
                "label": "Team",
                "description": "package.module:team, for tasks that name none themselves.",
                "schema": _TEXT,
            },
            "shared_file_system": {
                "label": "Shared file system",
                "description": "A file:// store lies on a file system that every worker mounts at the same path.",
                "schema": {"type": ["boolean", "null"], "default": False},
            },
            "trace_url": {
                "label": "Trace page",
                "description": "URL that the link Trace of tasks leads to, such as "
                "https://jaeger.example/trace/{trace_id}; its fields are {trace_id}, {run_id}, {namespace} and "
                "{task_id}. COTERIE_TRACE_URL if empty.",
                "schema": _TEXT,
            },
        },
        "ui-field-behaviour": {
            "hidden-fields": ["host", "schema", "login", "port", "extra"],
            "relabeling": {"password": "Password of the state store"},
            "placeholders": {
                "artifacts": "s3://bucket/coterie",
                "store": "rediss://host:6379/0",
                "namespace": "default",
                "trace_url": "https://jaeger.example/trace/{trace_id}",
            },
        },
    }
