"""One real S3 endpoint for all that need one here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from s3fs import S3FileSystem

from tests.docs.object_storage import s3_endpoint


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead a driver there; it has the bucket `artifacts`."""
    with s3_endpoint(tmp_path_factory.mktemp("s3"), bucket="artifacts") as variables:
        yield variables


@pytest.fixture
def s3_environment(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process's drivers go there from now on."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    # One driver serves all of a process for ever, at the endpoint that it first saw.
    S3FileSystem.clear_instance_cache()
    return s3
