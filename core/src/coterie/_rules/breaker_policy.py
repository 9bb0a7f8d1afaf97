"""When a circuit breaker opens, how long it rests, how it is tried again: its settings, also in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, get_args

from coterie._json import JsonValue
from coterie._rules.timeline import micros
from coterie.errors import PolicyError

__all__ = ["CHANCES", "BreakerMode", "BreakerPolicy", "Share", "Terms", "terms_of"]

BreakerMode = Literal["consecutive", "count", "time"]

# A share as it is compared: failures * denominator >= numerator * calls. 2/3 is two of three, not 0.666667.
Share: TypeAlias = tuple[int, int]

# Chance is a whole number below this one.
CHANCES = 1_000_000

_MODES = get_args(BreakerMode)
_FINEST = 1_000_000
# So large are counts, windows and times at most: the stored state stays small, and products fit in 53 bits.
_MOST = {
    "failure_threshold": 1_000_000,
    "success_threshold": 1_000,
    "half_open_max_calls": 1_000,
    "window_calls": 10_000,
    "window_s": 3_600,
    "min_calls": 1_000_000,
}
_SHARE = (1 / _FINEST, 1.0, "a share from 0.000001 to 1")
_SECONDS = (0.001, 31 * 86_400.0, "seconds from 0.001 to 2678400")
_RANGES = [
    ("timeout_s", *_SECONDS),
    ("max_timeout_s", *_SECONDS),
    ("probe_timeout_s", *_SECONDS),
    ("round_timeout_s", *_SECONDS),
    ("slow_call_s", *_SECONDS),
    ("failure_rate", *_SHARE),
    ("slow_rate", *_SHARE),
    ("timeout_growth", 1.0, 1_000.0, "a factor from 1 to 1000"),
    ("jitter", 0.0, 1.0, "a share from 0 to below 1"),
]
# What some modes alone look at.
_ONLY_IN: dict[str, tuple[BreakerMode, ...]] = {
    "failure_threshold": ("consecutive",),
    "failure_rate": ("count", "time"),
}
_OPTIONAL = {"round_timeout_s", "slow_call_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """How a circuit breaker decides. The same everywhere that shares the breaker; times are the store's.

    mode: opens after `failure_threshold` failures in a row ("consecutive"), or by rates over the last `window_calls`
        calls ("count") or the last `window_s` seconds ("time", in whole seconds, the current one included).
    failure_rate, slow_rate: shares of the window from which on it opens; not before it holds `min_calls` calls.
    slow_call_s: a call that takes longer is slow; None: none is.
    timeout_s: how long it stays open before it is tried again. Each time it opens without having closed in between,
        `timeout_growth` times longer, at most `max_timeout_s`; then shortened by chance, by a share below `jitter`,
        so that breakers that opened together are not tried together.
    half_open_max_calls: calls that one trial lets through, in the whole fleet.
    success_threshold: in mode "consecutive", so many successes among them close it, and the first failure opens it;
        the other modes judge the trial by the same rates as a window, once all its calls have ended.
    probe_timeout_s: a trial call that has not reported by then is given up, and another may go in its place.
    round_timeout_s: a trial without a verdict by then has failed, unless all its calls ended well: then it goes on for
        as long again. None: twice `probe_timeout_s`.

    Raises:
        PolicyError: the settings cannot work, alone or together; the message has the numbers.

    Source: Nygard, "Release It!" (2007); the windows follow resilience4j, the growing time-out Envoy's ejections.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a name that pydantic reads, no field

    mode: BreakerMode = "consecutive"
    failure_threshold: int = 5
    success_threshold: int = 2
    timeout_s: float = 60.0
    half_open_max_calls: int = 3
    failure_rate: float = 0.5
    slow_call_s: float | None = None
    slow_rate: float = 1.0
    window_calls: int = 100
    window_s: int = 60
    min_calls: int = 20
    probe_timeout_s: float = 60.0
    round_timeout_s: float | None = None
    timeout_growth: float = 2.0
    max_timeout_s: float = 600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise PolicyError(f"breaker has mode {self.mode!r}; use one of {', '.join(_MODES)}")
        for name, most in _MOST.items():
            _check_count(name, getattr(self, name), most)
        for name, least, most_, wanted in _RANGES:
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                # 1 and 1.0 are the same setting: equal policies must be equal texts too.
                object.__setattr__(self, name, _checked(name, value, least, most_, wanted))
        if self.jitter >= 1:
            raise PolicyError(f"breaker has jitter {self.jitter!r}; give a share from 0 to below 1")
        self._check_together()

    def _check_together(self) -> None:
        for name, modes in _ONLY_IN.items():
            value = getattr(self, name)
            if self.mode not in modes and value != type(self).__dataclass_fields__[name].default:
                raise PolicyError(
                    f"breaker has {name} {value!r} and mode {self.mode!r}, in which it says nothing; leave it out, or "
                    f"use mode {' or '.join(map(repr, modes))}"
                )
        if self.success_threshold > self.half_open_max_calls:
            raise PolicyError(
                f"breaker has success_threshold {self.success_threshold} above half_open_max_calls "
                f"{self.half_open_max_calls}: it could never close; raise the latter or lower the former"
            )
        if self.mode == "count" and self.window_calls < self.min_calls:
            raise PolicyError(
                f"breaker has window_calls {self.window_calls} below min_calls {self.min_calls}: "
                "it could never open; raise window_calls or lower min_calls"
            )
        if self.max_timeout_s < self.timeout_s:
            raise PolicyError(
                f"breaker has max_timeout_s {self.max_timeout_s:g} below timeout_s {self.timeout_s:g}; "
                "raise max_timeout_s or lower timeout_s"
            )
        if self.round_timeout_s is not None and self.round_timeout_s < self.probe_timeout_s:
            raise PolicyError(
                f"breaker has round_timeout_s {self.round_timeout_s:g} below probe_timeout_s {self.probe_timeout_s:g}: "
                "a trial would end before its calls do; raise round_timeout_s or lower probe_timeout_s"
            )


class Terms(NamedTuple):
    """A policy in whole numbers, as decisions (and their twins in other languages) use it. Durations in microseconds.

    rate_num / rate_den: the failure rate. slow_num 0: slowness is not judged. growth: in thousandths.
    jitter: in millionths.
    """

    mode: BreakerMode
    failures: int
    successes: int
    timeout: int
    max_timeout: int
    growth: int
    jitter: int
    probes: int
    probe_timeout: int
    round_timeout: int
    rate_num: int
    rate_den: int
    slow_num: int
    slow_den: int
    window_calls: int
    window_s: int
    min_calls: int

    def wire(self) -> dict[str, JsonValue]:
        """As JSON; `Terms(**wire)` is the way back."""
        return self._asdict()


@lru_cache(maxsize=256)
def terms_of(policy: BreakerPolicy) -> Terms:
    """The policy in whole numbers: durations rounded up to microseconds, rates exact to a denominator of a million."""
    rate_num, rate_den = _share(policy.failure_rate)
    slow_num, slow_den = _share(policy.slow_rate) if policy.slow_call_s is not None else (0, 1)
    probe_timeout = micros(policy.probe_timeout_s)
    return Terms(
        mode=policy.mode,
        failures=policy.failure_threshold,
        successes=policy.success_threshold,
        timeout=micros(policy.timeout_s),
        max_timeout=micros(policy.max_timeout_s),
        growth=round(policy.timeout_growth * 1000),
        jitter=int(policy.jitter * _FINEST),
        probes=policy.half_open_max_calls,
        probe_timeout=probe_timeout,
        round_timeout=2 * probe_timeout if policy.round_timeout_s is None else micros(policy.round_timeout_s),
        rate_num=rate_num,
        rate_den=rate_den,
        slow_num=slow_num,
        slow_den=slow_den,
        window_calls=policy.window_calls,
        window_s=policy.window_s,
        min_calls=policy.min_calls,
    )


def _share(rate: float) -> Share:
    exact = Fraction(rate).limit_denominator(_FINEST)
    return exact.numerator, exact.denominator


def _check_count(name: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise PolicyError(f"breaker has {name} {value!r}; give a whole number from 1 to {most}")


def _checked(name: str, value: object, least: float, most: float, wanted: str) -> float:
    # NaN compares as false.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise PolicyError(f"breaker has {name} {value!r}; give {wanted}")
    return float(value)
