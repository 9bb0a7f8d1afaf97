"""Requests to an Airflow that keeps its state in SQLite: one writer at a time, so some are undone and must be repeated.

Only the standard library: the demo runs this from an environment that has no Airflow.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["ANSWER_S", "AirflowApi"]

ATTEMPTS = 4
# The database was locked, and the request undone.
_UNDONE = (500, 503)
# Clearly longer than the database waits for its lock (60 s): whoever gives up sooner misses the answer that says so.
ANSWER_S = 150.0


class AirflowApi:
    """The REST API at `url`; paths of the public one begin with `/api/v2`.

    token: sent with each request. answer_s: seconds until a request is given up; pause_s: between attempts, times
    their number.
    """

    def __init__(self, url: str, *, answer_s: float = ANSWER_S, pause_s: float = 1.0) -> None:
        self.url = url
        self.token = ""
        self._answer_s = answer_s
        self._pause_s = pause_s

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request, repeated while the server says 500 or 503; a GET also if the answer does not come.

        Raises:
            urllib.error.HTTPError: with the server's answer in its message.
            TimeoutError, urllib.error.URLError: no answer.
        """
        return self._repeated(method, path, body, silence_too=method == "GET")

    def once(self, path: str, *, answer_s: float) -> Any:
        """One GET, not repeated, for those who ask again anyway."""
        return self._request("GET", path, None, answer_s)

    def start_run(self, dag_id: str, conf: Mapping[str, Any], run_id: str | None = None) -> str:
        """Start a run once, however often it must be asked for, and return its id: by default one of its own.

        Raises:
            urllib.error.HTTPError: 409, the run was there before this call; any other refusal.
        """
        name = run_id or f"demo-{uuid.uuid4()}"
        body = {"logical_date": None, "conf": dict(conf), "dag_run_id": name}
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        # The id is ours: a run that was started although no answer came is found, not started again.
        self._repeated("POST", path, body, silence_too=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._repeated("GET", f"{path}/{quote(name, safe='')}", None, silence_too=True)
                break
            except urllib.error.HTTPError as error:
                if error.code != 404 or attempt == ATTEMPTS:
                    raise
            # It had answered before it committed, and the database was locked then.
            self._repeated("POST", path, body, silence_too=True, may_be_there=True)
        return name

    def _repeated(self, method: str, path: str, body: object, *, silence_too: bool, may_be_there: bool = False) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._request(method, path, body, self._answer_s)
            except urllib.error.HTTPError as error:
                if error.code == 409 and (may_be_there or (attempt > 1 and silence_too)):
                    return None
                if error.code not in _UNDONE or attempt == ATTEMPTS:
                    raise
            except OSError as error:
                if not silence_too or not _is_silence(error) or attempt == ATTEMPTS:
                    raise
            time.sleep(attempt * self._pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _request(self, method: str, path: str, body: object, answer_s: float) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=answer_s) as answer:
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg}: {error.read().decode(errors='replace')[:500]}"
            raise


def _is_silence(error: OSError) -> bool:
    """Whether nobody answered in time, while connecting or afterwards."""
    return isinstance(error.reason if isinstance(error, urllib.error.URLError) else error, TimeoutError)
