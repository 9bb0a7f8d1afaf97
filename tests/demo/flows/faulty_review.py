"""The faulty review as a flow."""

from __future__ import annotations

from prefect_coterie import plan_to_flow
from tests.support.faulty_review import plan

faulty_review = plan_to_flow(plan(), team="tests.support.faulty_review:team")
