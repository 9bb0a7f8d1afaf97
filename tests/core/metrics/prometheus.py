"""A real Prometheus with the repository's configuration, and what it knows."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from tests.core.metrics.desk import OBSERVABILITY, Fleet
from tests.core.metrics.promql import RULES
from tests.support.redis_servers import free_port
from tests.support.running import process

__all__ = ["Prometheus", "as_grafana_asks", "prometheus_of"]

# As Grafana would fill them in.
_VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$agent_type": ".*"}


@contextmanager
def prometheus_of(fleet: Fleet, folder: Path, rules: Path = RULES) -> Iterator[Prometheus]:
    """One that scrapes the fleet each second: of the configuration, targets and intervals alone are others."""
    port = free_port()
    config = yaml.safe_load((OBSERVABILITY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules)]
    for job in config["scrape_configs"]:
        url = fleet.worker if job["job_name"] == "coterie-worker" else fleet.desk
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [urllib.parse.urlsplit(url).netloc]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with process([*command, f"--web.listen-address=127.0.0.1:{port}"], {}, folder / "prometheus.log"):
        yield Prometheus(f"http://127.0.0.1:{port}")


class Prometheus:
    """Asks one over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        """What it answers; None while it does not."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                    # It is starting.
                    return None
                raise AssertionError(error.read().decode()) from error
        except OSError:
            return None

    def values(self, query: str) -> list[float]:
        """What an expression is now."""
        found = self.get(f"/query?{urllib.parse.urlencode({'query': query})}")
        return [float(each["value"][1]) for each in (found or {"result": []})["result"]]

    def names(self) -> set[str]:
        """Of all series that it has, whether they have a value now or not."""
        return set(self.get("/label/__name__/values") or ())

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        found = self.get("/alerts") or {"alerts": []}
        return {alert["labels"]["alertname"] for alert in found["alerts"] if alert["state"] == "firing"}


def as_grafana_asks(expression: str) -> str:
    """The expression of a panel, with its variables filled in."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return expression
