"""Where a run's trace is to be seen: a URL made from a template, for the pages of whatever shows the run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from coterie.errors import PolicyError
from coterie.ids import TaskId, WorkflowId
from coterie.telemetry.identity import parsed_parent, run_trace_id

__all__ = ["FIELDS", "VARIABLE", "TraceUrl", "run_trace_id_text", "trace_url_of"]

VARIABLE = "COTERIE_TRACE_URL"
FIELDS = ("trace_id", "run_id", "namespace", "task_id")

_FIELD = re.compile(r"\{([^{}]*)\}")
_SCHEMES = ("http", "https")
# Without one of these, all runs have the same link.
_NAMES_RUN = frozenset({"trace_id", "run_id"})


@dataclass(frozen=True, slots=True)
class TraceUrl:
    """A template such as `http://localhost:16686/trace/{trace_id}`. where: the setting that it is from, for messages.

    Its fields are those of `FIELDS`, in path, query or fragment; what they stand for is percent-encoded. Braces that
    belong to the URL are written `%7B` and `%7D`.

    Raises:
        PolicyError: it is none.
    """

    template: str
    where: str = VARIABLE

    def __post_init__(self) -> None:
        names = _FIELD.findall(self.template)
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            raise PolicyError(f"{self.where} has a field {unknown[0][:50]!r}; there are {_listed()}")
        if re.search(r"[{}]", _FIELD.sub("", self.template)):
            raise PolicyError(
                f"{self.where} has a brace that is no field's; write '%7B' and '%7D' for those of the URL"
            )
        self._check_place()
        if not _NAMES_RUN & set(names):
            raise PolicyError(
                f"{self.where} leads to the same page for all runs; have '{{trace_id}}' or '{{run_id}}' in it"
            )

    @property
    def needs_trace_id(self) -> bool:
        """Whether the run's trace id must be known, which takes a look at the journal."""
        return "{trace_id}" in self.template

    def link(self, run: WorkflowId, *, namespace: str, trace_id: str = "", task_id: TaskId = "") -> str:
        """The URL for a run, or for a task of it. trace_id: as 32 hexadecimal digits."""
        values = {"trace_id": trace_id, "run_id": run, "namespace": namespace, "task_id": task_id}
        return _FIELD.sub(lambda found: quote(values[found[1]], safe=""), self.template)

    def _check_place(self) -> None:
        # The URL itself is not told: it may hold a password.
        try:
            parts = urlsplit(self.template)
            host = parts.hostname
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in _SCHEMES or not host or re.search(r"[\s\x00-\x1f\x7f]", self.template):
            example = "'http://localhost:16686/trace/{trace_id}'"
            raise PolicyError(f"{self.where} is no http or https URL; give one such as {example}")
        if "@" in parts.netloc:
            raise PolicyError(f"{self.where} carries credentials, which everybody would see; leave them out")
        if _FIELD.search(parts.netloc):
            raise PolicyError(f"{self.where} has a field in its host; put it into the path, the query or the fragment")


def trace_url_of(given: str | None = None, *, where: str = VARIABLE) -> TraceUrl | None:
    """The template that was given, else that of the environment; None where there is none.

    Raises:
        PolicyError: it is none that can be used.
    """
    if given:
        return TraceUrl(given, where)
    here = os.environ.get(VARIABLE)
    return TraceUrl(here) if here else None


def run_trace_id_text(namespace: str, run: WorkflowId, traceparent: str | None) -> str:
    """The id of a run's trace, as backends show it. traceparent: of the run's header in the journal."""
    fixed = parsed_parent(traceparent)
    return f"{run_trace_id(namespace, run) if fixed is None else fixed.trace_id:032x}"


def _listed() -> str:
    named = [f"'{{{name}}}'" for name in FIELDS]
    return f"{', '.join(named[:-1])} and {named[-1]}"
