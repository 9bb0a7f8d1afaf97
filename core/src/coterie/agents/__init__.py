"""Agents outside this process: behind an HTTP endpoint, behind a model's API, or made with pydantic-ai."""

from __future__ import annotations

from coterie.agents.chat import ChatAgent
from coterie.agents.clients import aclose_clients
from coterie.agents.http import HttpAgent
from coterie.agents.pydantic_agent import PydanticAgent
from coterie.errors import AgentRejected, AgentThrottled, AgentUnavailable, BadAnswer

__all__ = [
    "AgentRejected",
    "AgentThrottled",
    "AgentUnavailable",
    "BadAnswer",
    "ChatAgent",
    "HttpAgent",
    "PydanticAgent",
    "aclose_clients",
]
