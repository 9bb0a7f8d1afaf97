"""The flow of a plan that is undone if it fails, for processes that tests start; run as a program, it serves itself."""

from __future__ import annotations

from prefect import serve

from prefect_coterie import plan_to_flow
from tests.support.provisioning import TEAM_PATH, chain

__all__ = ["chain_flow"]

chain_flow = plan_to_flow(chain, team=TEAM_PATH, name="chain-flow")

if __name__ == "__main__":
    serve(chain_flow.to_deployment("served"))
