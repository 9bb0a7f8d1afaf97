"""Opens connections that are ready for use: reached, encrypted, logged in, on the right database."""

from __future__ import annotations

import asyncio

from coterie.stores.redis.address import Address, Host, Login
from coterie.stores.redis.policy import RedisPolicy
from coterie.stores.redis.wire import Command, Push, Refusal, Reply, Wire

__all__ = ["ask", "dial_server"]


_NAME = "coterie"


async def dial_server(
    address: Address,
    host: Host,
    policy: RedisPolicy,
    *,
    on_push: Push | None = None,
) -> Wire:
    """A connection to `host`. The caller bounds the time it may take.

    Raises:
        OSError: nobody answers there.
        Refusal, Lost: the server does not let us in.
    """
    wire = await _connected(address, host, Wire(op_timeout_s=policy.op_timeout_s, on_push=on_push))
    wire.host = host
    try:
        await _greet(wire, address.login, address.protocol)
        if address.db:
            await ask(wire, "SELECT", address.db)
    except BaseException:
        # Also when cancelled or out of time: nobody else knows of the connection.
        wire.drop("it was given up while it was made ready")
        raise
    return wire


async def ask(wire: Wire, *command: str | bytes | int) -> Reply:
    """The answer to a command; raises what the server calls an error."""
    reply = await wire.send(command)
    if isinstance(reply, Refusal):
        raise reply
    return reply


async def _connected(address: Address, host: Host, wire: Wire) -> Wire:
    loop = asyncio.get_running_loop()
    if address.kind == "unix":
        await loop.create_unix_connection(lambda: wire, host.name)
    else:
        server_hostname = host.name if address.tls is not None else None
        await loop.create_connection(
            lambda: wire, host.name, host.port, ssl=address.tls, server_hostname=server_hostname
        )
    return wire


async def _greet(wire: Wire, login: Login, protocol: int) -> None:
    """HELLO, which logs in and asks for RESP3; where it is not known, AUTH."""
    auth: Command = () if login.password is None else ("AUTH", login.user, login.password)
    reply = await wire.send(("HELLO", protocol, *auth, "SETNAME", _NAME))
    if isinstance(reply, Refusal) and (reply.code == "NOPROTO" or "unknown command" in str(reply).lower()):
        reply = await wire.send(auth) if auth else None
    if isinstance(reply, Refusal):
        raise reply
