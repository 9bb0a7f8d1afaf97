"""Review a code base every day.

On a laptop, `python flows/code_review.py` serves the flow and its schedule; on a server, `prefect deploy --all`
deploys it as `prefect.yaml` says. Results and reports lie where `COTERIE_ARTIFACTS` points.
"""

from __future__ import annotations

from coterie.teams.code_review import plan
from prefect_coterie import plan_to_flow, publish_report

code_review = plan_to_flow(
    plan(),
    team="coterie.teams.code_review:team",
    publish=publish_report,
    description="Review a folder or git repository: style, security, structure, tests and documentation.",
)

if __name__ == "__main__":
    code_review.serve(name="laptop", cron="0 6 * * *", parameters={"source": "."})
