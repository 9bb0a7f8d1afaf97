"""What surrounds the data of an event, as CloudEvents 1.0 names and bounds it, and as JSON text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from math import modf
from operator import itemgetter
from typing import Any, NoReturn, TypeAlias

from coterie._json import MAX_DEPTH, content_shape, require_json
from coterie._rules.timeline import SECOND
from coterie.errors import MalformedEvent, Misuse

__all__ = [
    "LAST_S",
    "NAMES",
    "SIGNATURE",
    "Extension",
    "check",
    "checked_extensions",
    "is_plain",
    "parsed",
    "read",
    "seconds_of",
    "text_of",
    "time_of",
    "written",
]

Extension: TypeAlias = str | int | bool

# The attributes that are texts, in this order, and what they are where they are absent; then those that are none.
_TEXTS: Mapping[str, str | None] = {
    "type": None,
    "source": None,
    "id": None,
    "time": None,
    "expirytime": None,
    "partitionkey": "",
    "subject": None,
    "dataschema": None,
    "correlationid": None,
    "causationid": None,
    "traceparent": None,
    "replyto": None,
}
NAMES: Mapping[str, Any] = {**_TEXTS, "priority": 0, "data": None}
# Beside the others, and no part of the event that is handed out.
SIGNATURE = "coteriesignature"

_ABSENT: Mapping[str, Any] = {**NAMES, "specversion": None, "datacontenttype": None, SIGNATURE: None}
_RESERVED = frozenset({*_ABSENT, "data_base64"})
_pick = itemgetter(*NAMES)
_required_of = itemgetter("specversion", "type", "id", "source")
# All but the data, which come last.
_ATTRIBUTES = tuple((name, absent) for name, absent in NAMES.items() if name != "data")
_NEEDED = frozenset({"type", "source", "id"})
_SHORT = frozenset({"type", "id", "partitionkey", "replyto"})
_SHORT_CHARS, _TEXT_CHARS, _LIMIT = 200, 2000, 2**31
# The end of the year 9999, in seconds since the epoch.
LAST_S = 253_402_300_800.0
# What every store can rank by.
_MOST_PRIORITY = 10**9

_NAME = re.compile(r"[a-z0-9]{1,40}\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z")
# Controls, and halves of characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BLANK = re.compile(r"\s")
# What RFC 3986 has in references.
_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+\Z")
_A_TIME = "a time as RFC 3339 has it, such as '2026-11-27T10:00:00Z'"
_A_REFERENCE = "a URI reference, such as '/shop' or 'urn:shop', in which a blank is %20"
_A_NUMBER = "a whole number of at most 31 bits"

_JSON = "application/json"
_PLAIN = frozenset({*_TEXTS, "specversion", "datacontenttype", "data", SIGNATURE} - {"expirytime"})
_PLAIN_CHARS = 500
_ANY_TIME = "2026-01-01T00:00:00Z"

# Attributes in their order, of events that have but texts and data; and what picks the texts.
_plain_kinds: dict[tuple[str, ...], Callable[[dict[str, Any]], tuple[str, ...]]] = {}
_MOST_KINDS = 1000


def parsed(text: str | bytes) -> dict[str, Any]:
    """The JSON object that a text is.

    Raises:
        MalformedEvent: it is none, or nested deeper than what may be published.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        document = _decoded(text)
    # Also what is no UTF-8, has a number of too many digits, or is too deep.
    except (ValueError, RecursionError) as error:
        raise MalformedEvent(f"an event is no JSON: {str(error)[:200]}; send CloudEvents 1.0 as JSON") from None
    if type(document) is not dict:
        raise MalformedEvent(f"an event is a JSON {type(document).__name__}, no object; send CloudEvents 1.0 as JSON")
    # Most texts cannot be so deep, and need no closer look.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(document.get("data"), len(text))
    return document


def is_plain(document: dict[str, Any]) -> bool:
    """Whether a document is an event, and has texts and data alone; at little cost. False: `read` it.

    What a consumer does most is to read events, which are of few kinds: their attributes are the same ones again.
    """
    texts_of = _plain_kinds.get(tuple(document))
    if texts_of is None:
        return False
    try:
        texts = "".join(texts_of(document))
    except TypeError:
        return False
    get = document.get
    version, type_, id_, source = _required_of(document)
    return (
        version == "1.0"
        and get("datacontenttype", _JSON) == _JSON
        and bool(type_ and id_ and source)
        and " " not in type_
        and _is_reference(source)
        # All together are seldom longer than one of them may be.
        and (len(texts) <= _SHORT_CHARS or _are_short(texts, type_, id_, get("partitionkey", "")))
        # Without controls, and half characters; what else cannot be printed is looked at more closely.
        and texts.isprintable()
        and _is_time(get("time", _ANY_TIME))
    )


@lru_cache(1024)
def _is_reference(text: str) -> bool:
    # Most events are of a source that was looked at before.
    return _REFERENCE.match(text) is not None


def _are_short(texts: str, *names: str) -> bool:
    return len(texts) <= _PLAIN_CHARS and max(map(len, names)) <= _SHORT_CHARS


def read(document: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Extension]]:
    """The values of `NAMES`, and the extensions.

    Raises:
        MalformedEvent: names the attribute that is wrong, or missing.
    """
    if None in document.values():
        # JSON's null stands for what is absent.
        document = {name: value for name, value in document.items() if value is not None}
    if document.get("specversion") != "1.0":
        _wrong("specversion", document.get("specversion"), "'1.0'")
    kind = document.get("datacontenttype", _JSON)
    if kind != _JSON:
        _check_content(kind)
    values = _pick({**NAMES, **document})
    check(values)
    extensions = checked_extensions({name: value for name, value in document.items() if name not in _ABSENT})
    if _PLAIN.issuperset(document) and len(_plain_kinds) < _MOST_KINDS:
        names = [name for name in document if name != "data"]
        _plain_kinds[tuple(document)] = itemgetter(*names)
    return values, extensions


def check(values: tuple[Any, ...]) -> None:
    """See that values may be those of `NAMES`.

    Raises:
        MalformedEvent: names the attribute that is wrong, or missing.
    """
    if not _is_usual(values):
        for name, value in zip(NAMES, values, strict=True):
            _check_value(name, value)


def _is_usual(values: tuple[Any, ...]) -> bool:
    """Whether values are as nearly all are, and right; at little cost. False: look at each."""
    type_, source, id_, time, expiry, key, *others, reply_to, priority, _ = values
    texts = [text for text in (type_, source, id_, time, key, *others, reply_to) if text is not None]
    try:
        joined = "".join(texts)
    except TypeError:
        return False
    return (
        # Controls and halves of characters are none of these; what else is none is looked at.
        joined.isprintable()
        and bool(type_ and source and id_)
        and " " not in type_
        and _is_reference(source)
        and (len(joined) <= _SHORT_CHARS or _are_short(joined, type_, id_, key or "", reply_to or ""))
        and key is not None
        and expiry is None
        and priority == 0
        and type(priority) is int
        and (time is None or _is_time(time))
    )


def checked_extensions(given: Mapping[str, Any]) -> dict[str, Extension]:
    """The same attributes, if an event may have them beside its own.

    Raises:
        MalformedEvent: names the one that is wrong.
    """
    for name, value in given.items():
        if not isinstance(name, str) or name in _RESERVED or not _NAME.match(name):
            raise MalformedEvent(
                f"an event has the attribute {str(name)[:80]!r}, which no extension may be called; use 1 to 40 "
                "lower-case letters and digits, and no name that CloudEvents or coterie gives a meaning"
            )
        if type(value) is str:
            _check_text(name, value)
        elif type(value) is not bool and not _is_number(value):
            _wrong(name, value, f"a text, a boolean, or {_A_NUMBER}")
    return dict(given)


def written(values: tuple[Any, ...], extensions: Mapping[str, Extension]) -> dict[str, Any]:
    """The document; what is absent is left out."""
    document: dict[str, Any] = {"specversion": "1.0"}
    for (name, absent), value in zip(_ATTRIBUTES, values, strict=False):
        if value is not absent and value != absent:
            document[name] = value
    document.update(extensions)
    data = values[-1]
    if data is not None:
        document["datacontenttype"] = _JSON
        document["data"] = data
    return document


def text_of(document: Mapping[str, Any]) -> str:
    """The JSON text, without needless spaces."""
    return _encode(document)


def time_of(at_s: float) -> str:
    """Seconds since the epoch as RFC 3339, in UTC, with microseconds."""
    part, second = modf(at_s)
    micro = round(part * 1e6)
    if 0 <= micro < SECOND:
        # Most events are of the same second as the one before.
        return f"{_second_of(second)}.{micro:06d}Z"
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def seconds_of(name: str, time: str) -> float:
    """The other way round. name: whose time it is.

    Raises:
        MalformedEvent: there is no such time, or it is before 1970, or after 9999.
    """
    try:
        seconds = datetime.fromisoformat(time.upper()).timestamp()
    except ValueError:
        _wrong(name, time, _A_TIME)
    if not 0.0 <= seconds < LAST_S:
        _wrong(name, time, f"{_A_TIME}, from 1970 to 9999")
    return seconds


@lru_cache(16)
def _second_of(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:-6]


def _check_value(name: str, value: Any) -> None:
    if name == "data" or (value is None and name not in _NEEDED and NAMES[name] is None):
        return
    if name == "priority":
        if not _is_number(value) or abs(value) > _MOST_PRIORITY:
            _wrong(name, value, f"a whole number from -{_MOST_PRIORITY} to {_MOST_PRIORITY}")
        return
    if value is None:
        raise MalformedEvent(f"an event has no {name!r}; CloudEvents has it for every one")
    _check_text(name, value)
    if name in ("time", "expirytime") and not _is_time(value):
        _wrong(name, value, _A_TIME)
    if name == "type" and _BLANK.search(value):
        _wrong(name, value, "a name without blanks, such as 'com.example.order.placed'")
    if name == "source" and not _is_reference(value):
        _wrong(name, value, _A_REFERENCE)


def _check_depth(data: Any, most: int) -> None:
    """What is too deep to be published is too deep to be read: who handles it could neither show nor answer it."""
    try:
        if content_shape(data, most)[1] > MAX_DEPTH:
            require_json(data, "data")
    except Misuse as error:
        raise MalformedEvent(f"an event has data that are too deep: {error}; put them into an artifact") from None


def _check_text(name: str, value: Any) -> None:
    most = _SHORT_CHARS if name in _SHORT else _TEXT_CHARS
    if type(value) is not str or len(value) > most or _CONTROL.search(value) or (not value and name in _NEEDED):
        least = "1 to" if name in _NEEDED else "at most"
        _wrong(name, value, f"a text of {least} {most} characters, without controls")


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        # Such as the 30th of February; or small letters, which it does not know.
        return _TIME.match(value) is not None and value != value.upper() and _is_time(value.upper())
    # The first is how coterie writes it.
    return (value[4:14:3] == "--T:" and value[19::7] == ".Z") or _TIME.match(value) is not None


def _is_number(value: Any) -> bool:
    return type(value) is int and -_LIMIT <= value < _LIMIT


def _check_content(kind: Any) -> None:
    """JSON of any kind is taken: `application/json; charset=utf-8`, `application/geo+json`."""
    media = kind.partition(";")[0].strip().lower() if type(kind) is str else ""
    if media != _JSON and not media.endswith("+json"):
        _wrong("datacontenttype", kind, f"{_JSON!r}: put other content into the artifact store")


def _wrong(name: str, value: Any, right: str) -> NoReturn:
    raise MalformedEvent(f"an event has {name} {repr(value)[:120]}; give {right}")


def _encoder() -> Callable[[Any], str]:
    """What writes JSON. Of `JSONEncoder`, what each call makes anew is made once: that takes as long as to write."""
    plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return plain.encode
    # Without a look for circles, of which data have none; nothing sorted, skipped, or that is no number.
    told = (False, False, False)
    parts = make(None, plain.default, json.encoder.encode_basestring, None, ":", ",", *told)
    return lambda document: "".join(parts(document, 0))


_encode = _encoder()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


@cache
def _reader() -> Callable[[str], Any]:
    # Loaded with the first event: it takes longer than all of coterie.
    from pydantic_core import from_json

    return partial(from_json, allow_inf_nan=False, cache_strings="keys")


def _decoded(text: str) -> Any:
    try:
        return _reader()(text)
    except ValueError:
        # What is a little deeper, or holds half a character, is read; and what is none says where.
        return json.loads(text, parse_constant=_no_number)
