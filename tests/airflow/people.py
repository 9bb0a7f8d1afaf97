"""Runs whose tasks ask people, and the people, who answer over Airflow's own API."""

from __future__ import annotations

import re

from tests.airflow.on_scheduler import Run

__all__ = ["Asked", "begun"]


class Asked(Run):
    """A run whose tasks ask people."""

    @property
    def name(self):
        """As the journal knows it."""
        return f"airflow.{self.dag_id}.{self.run_id}"

    def question(self, task_id, *, attempt=None):
        return self.server.call("GET", self._path(task_id) + (f"/tries/{attempt}" if attempt else ""))

    def until_asked(self, task_id, times=1, *, attempt=1, state="awaiting_input"):
        """The question that a try asks for the so-manyth time, once nobody holds a worker for it."""

        def asked():
            rows = self.server.tasks(self.dag_id, self.run_id)
            (row,) = (row for row in rows if row["task_id"] == task_id)
            if (row["try_number"], row["state"]) != (attempt, state) or self._parked(row) < times:
                return None
            found = self.question(task_id)
            return None if found["response_received"] else found

        return self.server.wait_for(f"question {times} of {self.dag_id}", asked)

    def code(self, task_id, *, attempt=1):
        """What the answer to the question needs that was asked last."""
        return re.findall(r"with the code ([0-9a-f]{6}),", self.log(task_id, attempt=attempt))[-1]

    def _parked(self, row):
        """How often the scheduler has heard that the task's worker let go.

        Where the answer comes before that, Airflow takes the resumed task for one that was killed.
        """
        marks = ("TaskInstance Finished:", f" ti_id={row['id']},", f" state={row['state']},")
        lines = self.server.log.read_text(errors="replace").splitlines()
        return sum(all(mark in line for mark in marks) for line in lines)

    def answer(self, task_id, option, **values):
        self.server.call("PATCH", self._path(task_id), {"chosen_options": [option], "params_input": values})

    def _path(self, task_id):
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/-1/hitlDetails"


def begun(server, server_artifacts, *dag_ids):
    """A run of each, all at once."""
    return {dag_id: Asked(server, server_artifacts, dag_id, server.trigger(dag_id)) for dag_id in dag_ids}
