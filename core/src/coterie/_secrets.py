"""The secrets that this process was given: of its environment, those that have the name of one, and passwords in URLs.

Whatever quotes others strikes them out; see `coterie._rules.redaction` for what is known by its shape.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from coterie._rules.redaction import is_secret_name

__all__ = ["known", "secrets_in"]

# Of the whole environment, only those variables are looked at for URLs that are read by us.
_OURS = ("COTERIE_", "AIRFLOW_CONN_")
_SHORTEST_KEY = 16
_ENDS = re.compile(r"://[^/?#\s@:]*:([^/?#\s]+)@")


def known() -> frozenset[str]:
    """The secrets that the environment of this process names, those in the URLs of ours too."""
    named, urls = _names(frozenset(os.environ))
    return _secrets(os.environ, named, urls)


def secrets_in(environment: Mapping[str, str]) -> frozenset[str]:
    """The same of variables that are given to another program; any of them may be a URL."""
    return _secrets(environment, tuple(filter(_may_be_secret, environment)), tuple(environment))


def _secrets(environment: Mapping[str, str], named: tuple[str, ...], urls: tuple[str, ...]) -> frozenset[str]:
    # A path is none, whatever names it: that of a folder would be struck out of every traceback.
    found = {value for name in named if not _is_path(value := environment.get(name, "")) and _is_long(name, value)}
    for name in urls:
        for password in _ENDS.findall(environment.get(name, "")):
            found |= {password, unquote(password)}
    return frozenset(found)


def _may_be_secret(name: str) -> bool:
    return is_secret_name(name) or name.upper().endswith("_KEY")


def _is_long(name: str, value: str) -> bool:
    """What is a key by its name alone is a secret if it is as long as one: others sort, or look something up."""
    return is_secret_name(name) or len(value) >= _SHORTEST_KEY


@lru_cache(maxsize=256)
def _is_path(value: str) -> bool:
    """Whether it names something here; keys in base 64 may begin with a slash too."""
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


@lru_cache(maxsize=4)
def _names(names: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of an environment's variables, those that are secrets, and those that may hold some in URLs."""
    return tuple(filter(_may_be_secret, names)), tuple(each for each in names if each.startswith(_OURS))
