"""Run a DAG file with `dag.test()`: every task in this process, states and XComs in a real database."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from coterie import Ref, WorkflowResult, sync


@dataclass(frozen=True)
class Tested:
    """A run of `dag.test()`."""

    state: str
    run_id: str
    artifacts: Path

    def rows(self):
        from airflow.models.taskinstance import TaskInstance

        return _query(TaskInstance, TaskInstance.run_id == self.run_id)

    def states(self):
        return {(row.task_id, row.map_index): str(row.state) for row in self.rows()}

    def tries(self):
        return {row.task_id: row.try_number for row in self.rows()}

    def xcom(self, task_id, key="return_value", map_index=-1):
        from airflow.models.xcom import XComModel

        found = _query(XComModel, XComModel.run_id == self.run_id, XComModel.task_id == task_id, XComModel.key == key)
        values = [row.value for row in found if row.map_index == map_index]
        return (json.loads(values[0]) if isinstance(values[0], str) else values[0]) if values else None

    def load(self, task_id):
        ref = Ref.deserialize(self.xcom(task_id)["__data__"])
        return sync.ArtifactStore(f"file://{self.artifacts}").load(ref)

    def result(self, task_id="workflow_result"):
        return WorkflowResult.from_dict(self.load(task_id))


class InAirflow:
    """Writes DAG files into folders of their own and tests the DAG `dag` of each."""

    def __init__(self, folder: Path, artifacts: Path, monkeypatch) -> None:
        self._folder = folder
        self._artifacts = artifacts
        self._monkeypatch = monkeypatch

    def test(self, source: str, **conf) -> Tested:
        name = f"dag_{self._folder.parent.name}_{len(list(self._folder.glob('*')))}".replace("-", "_")
        bundle = self._folder / name
        bundle.mkdir(parents=True)
        path = bundle / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        bundles = [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(bundle)},
            }
        ]
        self._monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        logging.disable(logging.ERROR)
        try:
            ended = module.dag.test(run_conf=conf or None)
        finally:
            logging.disable(logging.NOTSET)
        return Tested(str(ended.state), ended.run_id, self._artifacts)


def _query(model, *conditions):
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(select(model).where(*conditions)).all()
        session.expunge_all()
        return rows
