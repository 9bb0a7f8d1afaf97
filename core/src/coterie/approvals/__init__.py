"""Tasks that wait for a person: asked in a run, answered from anywhere, kept in the journal."""

from coterie.approvals.asked import Asked, Place
from coterie.approvals.people import Approvals, PendingApproval

__all__ = ["Approvals", "Asked", "PendingApproval", "Place"]
