"""What the packages promise: every name that a public module lists, found by reading the sources.

Nothing is imported. Airflow and Prefect cannot be installed together, and a reference that is read needs neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import griffe

__all__ = ["REPOSITORY", "Api", "Entry", "read_api"]

REPOSITORY = Path(__file__).resolve().parents[2]

_SOURCES = ("core/src", "airflow_provider/src", "prefect_blocks/src")
_PACKAGES = ("coterie", "airflow_provider_coterie", "prefect_coterie")
_FIRST = {"coterie": 0, "coterie.errors": 1}
_PROMISES = REPOSITORY / "docs/reference/versions.md"


@dataclass(frozen=True, slots=True)
class Entry:
    """One public thing. `name` is the first place to import it from, `others` are the further ones."""

    name: str
    subject: griffe.Object
    others: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """What `name` is imported from."""
        return self.name.rpartition(".")[0]

    @property
    def path(self) -> Path:
        """The file that defines it."""
        path = self.subject.filepath
        assert isinstance(path, Path), f"{self.name} is defined in no single file"
        return path


@dataclass(frozen=True, slots=True)
class Api:
    """Everything public. `by_name` holds every place to import from, `by_definition` where a thing is defined."""

    modules: griffe.ModulesCollection
    by_name: dict[str, Entry] = field(default_factory=dict)
    by_definition: dict[str, Entry] = field(default_factory=dict)

    def find(self, path: str) -> griffe.Object | None:
        """The thing at a dotted path in our packages, imports followed; None for all others."""
        try:
            found = self.modules[path]
            return found.final_target if isinstance(found, griffe.Alias) else found
        except (KeyError, ValueError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None


@cache
def read_api() -> Api:
    """Read the sources.

    Raises:
        LookupError: a public module lists a name that it does not have.
    """
    loader = griffe.GriffeLoader(search_paths=[REPOSITORY / folder for folder in _SOURCES])
    for package in _PACKAGES:
        loader.load(package)
    api = Api(loader.modules_collection)
    places: dict[str, list[str]] = {}
    # An error is looked for among the errors, whoever else hands it on.
    for module in sorted(public_modules(), key=lambda name: _FIRST.get(name, len(_FIRST))):
        for name in _listed(api, module):
            subject = api.find(f"{module}.{name}")
            if subject is None:
                raise LookupError(f"{module}.__all__ lists {name!r}, which cannot be found; mend its import")
            places.setdefault(subject.path, []).append(f"{module}.{name}")
    for path, names in places.items():
        subject = api.find(path)
        assert subject is not None
        entry = Entry(names[0], subject, tuple(names[1:]))
        api.by_definition[path] = entry
        api.by_name.update(dict.fromkeys(names, entry))
    return api


def public_modules() -> list[str]:
    """The modules whose `__all__` is promised, as docs/reference/versions.md says; the shortest way first."""
    row = next(line for line in _PROMISES.read_text("utf-8").splitlines() if line.startswith("| public names |"))
    promised = row.partition("`__all__` of")[2].partition(" lists")[0]
    return re.findall(r"`([a-z_.]+)`", promised)


def _listed(api: Api, module: str) -> list[str]:
    subject = api.find(module)
    assert isinstance(subject, griffe.Module), f"docs/reference/versions.md promises {module!r}, which is no module"
    return [name if isinstance(name, str) else name.name for name in subject.exports or []]
