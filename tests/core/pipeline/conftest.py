"""Fixtures of the pipeline's tests."""

from __future__ import annotations

import pytest

from coterie.testing import ManualClock


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()
