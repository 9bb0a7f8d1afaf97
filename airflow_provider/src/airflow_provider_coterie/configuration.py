"""What a run's configuration may say to a DAG that is a plan: a misspelt parameter must not run with its default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from airflow_provider_coterie.identity import FORCE_KEY, RUN_ID_KEY
from coterie.errors import Misuse

__all__ = ["check_configuration"]


def check_configuration(context: Mapping[str, Any], params: Collection[str]) -> None:
    """Refuse a run that is told what nobody reads.

    params: the plan's parameters. Those that the DAG declares besides, its author reads.

    Raises:
        Misuse: a key of the run's configuration is none of these, and neither `coterie_run_id` nor `coterie_force`.
    """
    known = sorted({*params, *context["dag"].params, RUN_ID_KEY, FORCE_KEY})
    unknown = sorted(set(context["dag_run"].conf or {}) - set(known))
    if unknown:
        key = str(unknown[0])[:100]
        close = get_close_matches(key, known, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise Misuse(
            f"the DAG takes no {key!r}{meant} in a run's configuration; it takes: {', '.join(known)}; trigger a new run"
        )
