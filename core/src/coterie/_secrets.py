"""The secrets that this process was given: of its environment, those that have the name of one, and passwords in URLs.

Whatever quotes others strikes them out; see `coterie._rules.redaction` for what is known by its shape.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

from coterie._rules.redaction import is_secret_name

__all__ = ["known", "secrets_in"]

# Of the whole environment, only those variables are looked at for URLs that are read by us.
_OURS = ("COTERIE_", "AIRFLOW_CONN_")
_ENDS = re.compile(r"://[^/?#\s@]*:([^/?#\s]+)@")


def known() -> frozenset[str]:
    """The secrets that the environment of this process names, those in the URLs of ours too."""
    named, urls = _names(frozenset(os.environ))
    return _secrets(os.environ, named, urls)


def secrets_in(environment: Mapping[str, str]) -> frozenset[str]:
    """The same of variables that are given to another program; any of them may be a URL."""
    return _secrets(environment, tuple(filter(is_secret_name, environment)), tuple(environment))


def _secrets(environment: Mapping[str, str], named: tuple[str, ...], urls: tuple[str, ...]) -> frozenset[str]:
    # A path is none, whatever names it: that of a folder would be struck out of every traceback.
    found = {value for name in named if not (value := environment.get(name, "")).startswith(("/", "~"))}
    for name in urls:
        for password in _ENDS.findall(environment.get(name, "")):
            found |= {password, unquote(password)}
    return frozenset(found)


@lru_cache(maxsize=4)
def _names(names: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of an environment's variables, those that are secrets, and those that may hold some in URLs."""
    return tuple(filter(is_secret_name, names)), tuple(each for each in names if each.startswith(_OURS))
