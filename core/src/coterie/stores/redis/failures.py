"""What goes wrong below a Redis store, told in coterie's own errors: the one place that does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from coterie.errors import CoterieError, Misuse, StateFormatError, Unavailable
from coterie.stores.redis.wire import Lost, Refusal

__all__ = ["JOURNAL_RIGHTS", "STATE_RIGHTS", "translated", "translation"]

# What a user of a store must be let do.
STATE_RIGHTS = (
    "+@connection +evalsha +eval +get +set +del +time +scan +publish +subscribe +unsubscribe +role +cluster|slots "
    "~{<namespace>:* &<namespace>*"
)
JOURNAL_RIGHTS = (
    "+@connection +evalsha +eval +time +hget +hmget +hlen +hset +hdel +hscan +exists +unlink +sadd +srem +scard "
    "+srandmember +zadd +zrem +zscore +zrevrange +zrevrangebyscore +set +del +waitaof +info +config|get +role "
    "+cluster|slots ~{<namespace>:*"
)
# Said of the login, before anything was done.
_LOGIN = ("WRONGPASS", "NOAUTH", "invalid password", "without any password", "no password is set")


@contextmanager
def translated(what: str, where: str, *, rights: str = STATE_RIGHTS) -> Iterator[None]:
    """Errors of the network and of the server come out as coterie's. where: the store's URL, without credentials.

    rights: what to let a user do who may not.

    Raises:
        Misuse: the server refuses the user, or what the user wants to do; a setting cannot be.
        StateFormatError: something other than a state lies at the key.
        Unavailable: all else.
    """
    try:
        yield
    except (Refusal, OSError) as error:
        raise translation(error, what, where, rights=rights) from error


def translation(error: Refusal | OSError, what: str, where: str, *, rights: str = STATE_RIGHTS) -> CoterieError:
    """The same for one error, where a context manager would cost too much on success."""
    if isinstance(error, Refusal):
        return _answered(error, what, where, rights)
    if isinstance(error, Lost):
        done = "; whether it was carried out is not known" if error.sent else ""
        return Unavailable(f"{where} failed to {what}: {error}{done}; try again later")
    # Time-outs, refused connections, unknown names, and certificates that do not hold are OSErrors.
    reason = str(error) or type(error).__name__
    return Unavailable(f"{where} failed to {what}: {reason}; {_next_step(error)}")


def _next_step(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "name its authority (ssl_ca_certs=/path), and the host as its certificate does"
    if isinstance(error, ssl.SSLError):
        return "does the server speak TLS at that port? If not, the URL begins with redis://"
    return "is the server up and reachable?"


def _answered(error: Refusal, what: str, where: str, rights: str) -> CoterieError:
    text = _text(error)
    code = text.partition(" ")[0]
    said = f"{where} refused to {what}: {text[:300]}"
    if any(sign in text for sign in _LOGIN):
        return Misuse(f"{said}; give the right user and password in the store's URL")
    # Of what fails in a script, some servers tell the words alone.
    if code == "NOPERM" or "no permissions to run" in text:
        return Misuse(f"{said}; let the user do: {rights}")
    if "DB index" in text or "SELECT is not allowed" in text:
        return Misuse(f"{said}; give a database that the server has")
    if code == "WRONGTYPE":
        return StateFormatError(f"{said}; something else uses the key: choose a namespace that is ours alone")
    return Unavailable(f"{said}; try again later")


def _text(error: object) -> str:
    """The server's words. Redis 6.2 hides the code of what fails in a script behind a sentence of its own."""
    text = str(error).lstrip("-")
    _, marker, inner = text.partition("@user_script: ")
    if marker:
        number, _, words = inner.partition(": ")
        text = words if number.isdigit() else text
    return text.lstrip("-")
