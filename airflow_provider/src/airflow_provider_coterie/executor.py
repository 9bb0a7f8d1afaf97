"""Where a task's process runs, as far as Airflow's configuration tells, and what it can see from there."""

from __future__ import annotations

from urllib.parse import urlsplit

from coterie.errors import PolicyError

__all__ = ["ON_THIS_MACHINE", "executor_of", "is_in_process", "require_shared_store"]

ON_THIS_MACHINE = {"LocalExecutor", "SequentialExecutor"}
_LOCAL_SCHEMES = {"", "file", "local"}
_PROCESS_SCHEMES = {"memory"}


def executor_of(configured: str, task_executor: str | None) -> str:
    """The class name of the executor that runs a task.

    configured: `[core] executor`: names, aliases (`alias:name`) or module paths, the default first; those of
    Airflow teams follow after semicolons. task_executor: the task's own choice among them.
    """
    names: dict[str, str] = {}
    for entry in configured.replace(";", ",").split(","):
        alias, _, path = entry.strip().rpartition("=")[2].rpartition(":")
        class_name = path.rpartition(".")[2]
        for known in (alias, path, class_name):
            names.setdefault(known, class_name)
    names.pop("", None)
    if task_executor is None:
        return next(iter(names.values()), "")
    return names.get(task_executor, task_executor.rpartition(".")[2])


def is_in_process() -> bool:
    """Whether the task runs in the process that asked for it: `dag.test()`, or no Airflow task at all."""
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return comms is None or type(comms).__name__ == "InProcessSupervisorComms"


def require_shared_store(url: str, executor: str, *, shared_file_system: bool) -> None:
    """Refuse an artifact store that the other tasks of a run, in their own processes, cannot see.

    Raises:
        PolicyError: a `file://` store under an executor that leaves the machine, or a store in memory.
    """
    parts = urlsplit(url)
    scheme, shown = parts.scheme, parts._replace(netloc=parts.hostname or "").geturl()
    if scheme in _PROCESS_SCHEMES:
        raise PolicyError(
            f"the artifact store {shown!r} lives in one process, and every Airflow task has its own; "
            "use file:///… on one machine, or object storage such as s3://bucket/prefix"
        )
    if scheme in _LOCAL_SCHEMES and executor not in ON_THIS_MACHINE and not shared_file_system:
        raise PolicyError(
            f"the artifact store {shown!r} lies on this machine, but {executor!r} runs tasks on others, which would "
            "not find each other's outputs; use object storage such as s3://bucket/prefix, or, where every worker "
            "mounts this path, set 'Shared file system' in the connection"
        )
