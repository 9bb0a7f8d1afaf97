"""One DAG run on the real scheduler, and what a person does to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.airflow_server import AirflowServer

from coterie import Ref, WorkflowResult, sync

__all__ = ["Run", "is_awaited"]


def is_awaited(server, dag_id, run_id, task_id, *, map_index=-1):
    """Whether the trigger of a deferred task runs: what a person does to the task before, no trigger is told of."""
    return ") starting" in server.task_log(dag_id, run_id, task_id, map_index=map_index)


@dataclass
class Run:
    """One DAG run on the server."""

    server: AirflowServer
    artifacts: Path
    dag_id: str
    run_id: str

    def wait(self):
        return self.server.wait(self.dag_id, self.run_id)

    def states(self):
        rows = self.server.tasks(self.dag_id, self.run_id)
        return {(row["task_id"], row["map_index"]): row["state"] for row in rows}

    def xcom(self, task_id, key="return_value", map_index=-1):
        return self.server.xcom(self.dag_id, self.run_id, task_id, key, map_index=map_index)

    def xcom_sizes(self):
        return {
            (x["task_id"], x["key"], x["map_index"]): len(json.dumps(x["value"]))
            for x in self.server.xcoms(self.dag_id, self.run_id)
        }

    def load(self, task_id):
        ref = Ref.deserialize(self.xcom(task_id)["__data__"])
        return sync.ArtifactStore(f"file://{self.artifacts}").load(ref)

    def result(self):
        return WorkflowResult.from_dict(self.load("workflow_result"))

    def tries(self):
        rows = self.server.tasks(self.dag_id, self.run_id)
        return {(row["task_id"], row["map_index"]): row["try_number"] for row in rows}

    def log(self, task_id, **which):
        return self.server.task_log(self.dag_id, self.run_id, task_id, **which)

    def first_line(self, task_id, *, attempt=1, map_index=-1):
        """The first that the task itself logged in a try, behind what Airflow says of its start."""
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/logs/{attempt}"
        content = self.server.call("GET", f"{path}?map_index={map_index}")["content"]
        events = [line["event"] for line in content]
        started = events.index("::endgroup::", events.index("::group::Pre Execute"))
        return events[started + 1]

    def clear(self, *task_ids, only_failed=False):
        body = {"dag_run_id": self.run_id, "include_downstream": True, "only_failed": only_failed}
        body |= {"dry_run": False, "reset_dag_runs": True} | ({"task_ids": list(task_ids)} if task_ids else {})
        self.server.call("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)

    def mark(self, task_id, state):
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
        self.server.call("PATCH", path, {"new_state": state})
