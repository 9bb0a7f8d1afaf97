"""Flows that suspend themselves, or are paused, as deployments: `python -m tests.prefect.suspending` serves them."""

from __future__ import annotations

from prefect import serve

from prefect_coterie import CoterieStore, machine_to_flow, plan_to_flow
from tests.prefect.asking import TEAM as WORKERS
from tests.prefect.asking import publishing, two_signatures
from tests.prefect.reviewed import FIELDS, review, review_machine
from tests.prefect.reviewed import TEAM as REVIEWERS

__all__ = [
    "paused_review",
    "suspended_plan",
    "suspended_review",
    "suspended_signatures",
    "timed_review",
    "unkept_plan",
]

suspended_review = machine_to_flow(review, team=REVIEWERS, fields=FIELDS, name="suspended-review", person="suspend")
timed_review = machine_to_flow(
    review_machine(timeout_s=1.0), team=REVIEWERS, fields=FIELDS, name="timed-review", person="suspend"
)
paused_review = machine_to_flow(review, team=REVIEWERS, fields=FIELDS, name="paused-review", poll_s=0.2)
suspended_plan = plan_to_flow(publishing, team=WORKERS, name="suspended-plan", approvals="suspend")
suspended_signatures = plan_to_flow(two_signatures, team=WORKERS, name="suspended-signatures", approvals="suspend")
unkept_plan = plan_to_flow(
    publishing,
    team=WORKERS,
    store=CoterieStore(url="sqlite://", journal="off"),
    name="unkept-plan",
    approvals="suspend",
)

if __name__ == "__main__":
    reviews = (suspended_review, timed_review, paused_review)
    plans = (suspended_plan, suspended_signatures, unkept_plan)
    serve(*(flow.to_deployment("served") for flow in (*reviews, *plans)))
