"""Runs that are undone if they fail: each step's compensation, in reverse order, once, whatever process dies."""

from coterie._rules.saga_policy import SagaPolicy
from coterie.saga.by_hand import Leftovers, UndoneByHand, leftovers, settle
from coterie.saga.letter import DeadLetter
from coterie.saga.result import SagaResult
from coterie.saga.saga import Saga

__all__ = [
    "DeadLetter",
    "Leftovers",
    "Saga",
    "SagaPolicy",
    "SagaResult",
    "UndoneByHand",
    "leftovers",
    "settle",
]
