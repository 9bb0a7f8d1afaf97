"""What travels through XCom stays small, and comes back as what it was."""

from __future__ import annotations

import json

import pytest
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_coterie.wire import pack_record, pack_status, unpack_record
from coterie import ArtifactStore, ErrorInfo, PartResult, Parts, Ref, TaskResult
from coterie.result import ItemCounts

REF = Ref("s3://bucket/" + "p" * 200, "ab" * 32, 123456)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(f"file://{tmp_path}")


def failure(message):
    return TaskResult("t" * 128, "failed", REF, ErrorInfo("StepFailed", message), 3, "a" * 128, 1.0, 2.0)


@pytest.mark.parametrize("value", [REF, Parts(REF, 2000, 64), Parts(REF, 2000, 64)[3], PartResult(REF, "t", 1, 2, 3)])
def test_airflow_reads_our_values_back_without_any_setting(value):
    wire = serialize(value)

    assert deserialize(wire) == value
    assert len(json.dumps(wire)) <= 1024


@pytest.mark.parametrize("message", ["short", "é" * 300, "日本語" * 100])
async def test_a_record_is_small_whatever_the_error_says(store, message):
    packed = await pack_record(store, failure(message))

    assert len(json.dumps(serialize(packed))) <= 1024
    unpacked = await unpack_record(store, packed)
    assert unpacked.error == ErrorInfo("StepFailed", message)


async def test_without_a_store_a_long_message_is_cut():
    packed = await pack_record(None, failure("é" * 300))

    assert len(json.dumps(packed)) <= 1024
    assert packed["error"]["message"].startswith("ééé")


async def test_an_error_with_a_name_that_is_too_long_is_recorded_all_the_same():
    named = TaskResult("t", "failed", error=ErrorInfo("E" * 1000, "why"), attempts=1)

    packed = await pack_record(None, named)

    assert packed["error"] == {"type": "E" * 1000, "message": ""}


async def test_a_record_leaves_the_output_to_the_return_value(store):
    packed = await pack_record(store, TaskResult("t", "succeeded", REF, items=ItemCounts(5, 1)))

    assert packed == {"task_id": "t", "state": "succeeded", "items": {"total": 5, "failed": 1}}


@pytest.mark.parametrize("foreign", [None, 5, "text", {"other": 1}, [1]])
async def test_a_foreign_value_is_no_record(store, foreign):
    assert await unpack_record(store, foreign) is None


def test_a_status_names_as_many_tasks_as_fit():
    status = pack_status("partial", "w" * 250, [f"{'n' * 120}{number}" for number in range(50)])

    assert len(json.dumps(status)) <= 1024
    assert status["missing_count"] == 50
    assert status["missing"]
