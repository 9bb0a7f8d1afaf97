"""Operators whose first try is lost when the work is finished, and Airflow knows nothing of it."""

from __future__ import annotations

import os
import signal

from airflow_provider_coterie import CoterieAgentOperator, CoterieDecomposeOperator
from tests.airflow.paying_agents import is_first

__all__ = ["DiesBeforeItsXComs", "LosesItsFirstPlan", "LosesItsFirstTry"]


class DiesBeforeItsXComs(CoterieAgentOperator):
    """Its worker is killed, as for a lack of memory, the first time that it gets there."""

    def finish(self, context, store, result):
        if is_first(f"{context['params']['killed']}-{self.task_id}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().finish(context, store, result)


class LosesItsFirstTry(CoterieAgentOperator):
    """It fails by something that Airflow retries."""

    def finish(self, context, store, result):
        if context["ti"].try_number == 1:
            raise RuntimeError("the API server is gone")
        return super().finish(context, store, result)


class LosesItsFirstPlan(CoterieDecomposeOperator):
    """The same, of a plan that was made."""

    def execute(self, context):
        made = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("the API server is gone")
        return made
