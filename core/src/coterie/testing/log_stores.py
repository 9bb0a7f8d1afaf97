"""The contract of every log store, to inherit: what `coterie.ports.LogStore` promises, as tests."""

from __future__ import annotations

from coterie.testing.log_deaths import DeathsContract
from coterie.testing.log_groups import GroupsContract
from coterie.testing.log_history import HistoriesContract
from coterie.testing.log_orders import OrdersContract
from coterie.testing.log_retention import RetentionContract
from coterie.testing.log_topics import TopicsContract

__all__ = ["LogStoreContract"]


class LogStoreContract(
    TopicsContract, RetentionContract, GroupsContract, DeathsContract, OrdersContract, HistoriesContract
):
    """What every `LogStore` does.

    Inherit it, give it a fixture `store` with an empty store that is closed afterwards and goes by the fixture `clock`,
    and override `another`.
    """
