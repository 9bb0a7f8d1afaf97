"""The scheme `coterie` of Airflow's `MessageQueueTrigger`: events of coterie's bus start DAGs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.messaging.providers.base_provider import BaseMessageQueueProvider

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger

__all__ = ["CoterieMessageQueueProvider"]


class CoterieMessageQueueProvider(BaseMessageQueueProvider):
    """`MessageQueueTrigger(scheme="coterie", types=[...], ...)` is a `CoterieEventTrigger` of the same arguments."""

    scheme = "coterie"

    def trigger_class(self) -> type[BaseEventTrigger]:
        """What is run in the triggerer."""
        from airflow_provider_coterie.events.trigger import CoterieEventTrigger

        return CoterieEventTrigger
