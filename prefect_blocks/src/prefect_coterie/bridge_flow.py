"""A flow that is a bridge: for those who would rather deploy one than run a service."""

from __future__ import annotations

from prefect import flow

from prefect_coterie.bridge_block import CoterieEventBridge

__all__ = ["serve_bridge"]


@flow(name="coterie-bridge", flow_run_name="bridge {bridge}")
async def serve_bridge(bridge: str) -> None:
    """Forward events as the block of this name says, until the flow run is cancelled."""
    block: CoterieEventBridge = await CoterieEventBridge.aload(bridge)
    await block.arun()
