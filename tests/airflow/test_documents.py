"""The Python in the documents about Airflow makes DAGs that Airflow can store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    "docs/how-to/run-on-airflow.md",
    "docs/how-to/react-to-events-on-airflow.md",
    "docs/reference/airflow.md",
    "airflow_provider/README.md",
]

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=f"{Path(page).name}-{number}")
    for page in PAGES
    for number, block in enumerate(PYTHON.findall((REPOSITORY / page).read_text()))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_documents_is_a_dag_file(block):
    names: dict[str, object] = {}

    exec(compile(block, "document", "exec"), names)

    dags = [value for value in names.values() if isinstance(value, DAG)]
    assert dags
    for dag in dags:
        DagSerialization.to_dict(dag)
