"""The output of a foreach: an index of its items, the same however the work was cut into parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, overload

from coterie._json import JsonValue
from coterie._rules.foreach import part_bounds
from coterie.artifacts import ArtifactStore
from coterie.errors import CorruptArtifact, Misuse
from coterie.ref import Ref
from coterie.result import ItemResult, TaskResult

__all__ = [
    "ITEMS_MEDIA_TYPE",
    "Part",
    "PartResult",
    "Parts",
    "is_items",
    "load_items",
    "recall_failed_items",
    "store_items",
]

ITEMS_MEDIA_TYPE = "application/vnd.coterie.items+json"


@dataclass(frozen=True, slots=True)
class Part:
    """Items `start` to `stop - 1` of a list that lies at `ref`: part `index` of `of` parts.

    `token` names the list and its cut; outputs of another list or cut are stale and never count.
    """

    __version__: ClassVar[int] = 1

    ref: Ref
    token: str
    index: int
    start: int
    stop: int

    def serialize(self) -> dict[str, Any]:
        """The JSON form."""
        bounds = {"index": self.index, "start": self.start, "stop": self.stop}
        return {"ref": self.ref.serialize(), "token": self.token, **bounds}

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int = 1) -> Part:
        """Read the form that `serialize` writes."""
        _check_version("part", version, Part.__version__)
        return Part(Ref.deserialize(data["ref"]), data["token"], data["index"], data["start"], data["stop"])


@dataclass(frozen=True, slots=True)
class Parts(Sequence[Part]):
    """A list cut into `parts` parts of nearly equal size: a few hundred bytes, however long the list is.

    ref: where the list's document lies; items: its length. cut_at: seconds since the epoch; None where not known.
    """

    __version__: ClassVar[int] = 1

    ref: Ref
    items: int
    parts: int
    cut_at: float | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return self.parts

    def __iter__(self) -> Iterator[Part]:
        return (self._part(index) for index in range(self.parts))

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> list[Part]: ...
    def __getitem__(self, index: int | slice) -> Part | list[Part]:
        if isinstance(index, slice):
            return [self._part(one) for one in range(*index.indices(self.parts))]
        if not -self.parts <= index < self.parts:
            raise IndexError(index)
        return self._part(index % self.parts)

    @property
    def token(self) -> str:
        """Names this list and this cut."""
        return f"{self.ref.sha256[:16]}/{self.items}/{self.parts}"

    def serialize(self) -> dict[str, Any]:
        """The JSON form."""
        cut = {"cut_at": self.cut_at} if self.cut_at is not None else {}
        return {"ref": self.ref.serialize(), "items": self.items, "parts": self.parts, **cut}

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int = 1) -> Parts:
        """Read the form that `serialize` writes."""
        _check_version("list of parts", version, Parts.__version__)
        return Parts(Ref.deserialize(data["ref"]), data["items"], data["parts"], data.get("cut_at"))

    def _part(self, index: int) -> Part:
        start, stop = part_bounds(self.items, self.parts, index)
        return Part(self.ref, self.token, index, start, stop)


@dataclass(frozen=True, slots=True)
class PartResult:
    """How one part ended: its items' records lie at `ref`; `total` of them, `failed` failed."""

    __version__: ClassVar[int] = 1

    ref: Ref
    token: str
    index: int
    total: int
    failed: int

    def serialize(self) -> dict[str, Any]:
        """The JSON form."""
        counts = {"index": self.index, "total": self.total, "failed": self.failed}
        return {"ref": self.ref.serialize(), "token": self.token, **counts}

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int = 1) -> PartResult:
        """Read the form that `serialize` writes."""
        _check_version("part result", version, PartResult.__version__)
        return PartResult(Ref.deserialize(data["ref"]), data["token"], data["index"], data["total"], data["failed"])


def is_items(output: JsonValue | Ref) -> bool:
    """Whether an output is the index of a foreach."""
    return isinstance(output, Ref) and output.media_type == ITEMS_MEDIA_TYPE


async def store_items(artifacts: ArtifactStore, items: Iterable[ItemResult]) -> Ref:
    """Store an index of items, in item order. It names no place: equal items give equal bytes in every store."""
    ordered = sorted(items, key=lambda item: item.index)
    return await artifacts.put({"items": [_entry(item) for item in ordered]}, media_type=ITEMS_MEDIA_TYPE)


async def load_items(artifacts: ArtifactStore, ref: Ref) -> list[ItemResult]:
    """The items behind an index, outputs not loaded.

    Raises:
        CorruptArtifact: the document is not an index of items.
    """
    document = await artifacts.load(ref)
    try:
        return [_item(entry, artifacts) for entry in document["items"]]  # type: ignore[index,call-overload,union-attr,arg-type]  # checked by the except
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(f"{ref.uri[:200]!r} is not an index of items: {error!r}; run its task again") from error


async def recall_failed_items(artifacts: ArtifactStore, result: TaskResult) -> TaskResult:
    """`result` with its `failed_items`, which do not travel between processes; others are returned as they are."""
    lacking = result.items is not None and result.items.failed > 0 and not result.failed_items
    if not lacking or not isinstance(result.output, Ref) or not is_items(result.output):
        return result
    items = await load_items(artifacts, result.output)
    return replace(result, failed_items=tuple(item for item in items if item.state != "succeeded"))


def _entry(item: ItemResult) -> dict[str, Any]:
    entry = item.to_dict()
    if isinstance(item.output, Ref) and "output" in entry:
        entry["output"] = {"ref": item.output.portable()}
    return entry


def _item(entry: Mapping[str, Any], artifacts: ArtifactStore) -> ItemResult:
    portable = (entry.get("output") or {}).get("ref")
    if portable is None:
        return ItemResult.from_dict(entry)
    return ItemResult.from_dict({**entry, "output": {"ref": artifacts.recall(portable).serialize()}})


def _check_version(what: str, version: int, known: int) -> None:
    if version > known:
        raise Misuse(f"the {what} has version {version}, this coterie reads {known}; upgrade it")
