"""Whose turn it is in a group of a SQLite file: in the order of the log, or by priority."""

from __future__ import annotations

from coterie._rules.log import Terms
from coterie._rules.tickets import rank
from coterie._rules.timeline import micros
from coterie.stores.log_sqlite_transaction import Group, LogTransaction, Topic

__all__ = ["arrange", "rank_in"]


def rank_in(group: Group, priority: int, at: int) -> int:
    """The place of a message among those that are ready; where the log's order is, its position alone says it."""
    return 0 if group.ageing is None else rank(priority, at, group.ageing)


def arrange(transaction: LogTransaction, topic: Topic, group: Group, terms: Terms) -> None:
    """Have what is pending in the order that is asked for, where that is another than before."""
    ageing = micros(terms.ageing_s) if terms.by_priority else None
    if ageing == group.ageing:
        return
    group.ageing = ageing
    transaction.changed(group)
    rows = transaction.connection.execute(
        "SELECT pending.position, coalesce(copies.priority, messages.priority), coalesce(copies.at, messages.at) "
        "FROM pending LEFT JOIN copies ON pending.copied AND copies.grp = pending.grp "
        "AND copies.position = pending.position LEFT JOIN messages ON messages.place = pending.position + ? "
        "WHERE pending.grp = ?",
        (topic.base, group.number),
    ).fetchall()
    transaction.connection.executemany(
        "UPDATE pending SET rank = ? WHERE grp = ? AND position = ?",
        [(rank_in(group, priority, at), group.number, position) for position, priority, at in rows],
    )
    transaction.wrote(len(rows))
