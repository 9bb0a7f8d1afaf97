"""One topic in memory: what it keeps, which ids it remembers, what goes when something is added. No clock, no I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from coterie._rules.log import Appended, GroupStatus, Logged, Message, Retention, TopicStatus
from coterie._rules.timeline import micros
from coterie.stores.log_memory_group import Group
from coterie.stores.logs import full, matches

__all__ = ["Topic"]


@dataclass(slots=True)
class Topic:
    """The messages of one topic, numbered from 1 in the order in which they were appended; a position is the number.

    appended: the number of the last one. first: of the first one that is kept; `appended` + 1 where there is none.
    changed_at: when the last one was appended. idle_us: after so long it may be dropped. latest_at: what time it was.
    """

    name: str
    appended: int = 0
    first: int = 1
    changed_at: int = 0
    idle_us: int | None = None
    latest_at: int = 0
    kept: dict[int, Logged] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    # Id -> number, and until when it is remembered; those that were appended last come last.
    _ids: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)

    def is_idle(self, now: int) -> bool:
        """Whether it may be dropped."""
        return self.idle_us is not None and now - self.changed_at > self.idle_us

    def time(self, now: int) -> int:
        """The time of this topic, which never goes back, whatever the clock does: `locate` relies on it."""
        self.latest_at = max(self.latest_at, now)
        return self.latest_at

    def status(self) -> TopicStatus:
        """What it keeps."""
        first, last = (str(self.first), str(self.appended)) if self.kept else ("", "")
        return TopicStatus(self.name, len(self.kept), self.appended, first, last)

    def group_statuses(self) -> list[GroupStatus]:
        """Its groups, by name."""
        return [self._group_status(name, group) for name, group in sorted(self.groups.items())]

    def append(self, messages: Sequence[Message], retention: Retention, now: int) -> list[Appended]:
        """Add those whose ids are not remembered, and drop what no longer fits.

        Raises:
            TopicFull: there is no room, and none is made; nothing was changed.
        """
        answers, fresh = self._sort_out(messages, now)
        if fresh:
            old = self._older_than(now, retention)
            for number in (*old, *self._done_with(len(fresh) - len(old), retention, old[-1] if old else 0)):
                self._drop(number)
            self._add(fresh, now, until=now + micros(retention.dedup_s))
            self._drop_oldest(retention)
            self.idle_us = None if retention.idle_s is None else micros(retention.idle_s)
        return answers

    def read(self, after: int, limit: int, types: tuple[str, ...]) -> tuple[list[Logged], int, int]:
        """Messages behind `after`, the number of the last one looked at, and how many had gone before."""
        after = self._known(after)
        found: list[Logged] = []
        end, looked = after, 0
        for number, logged in self.behind(after):
            if len(found) == limit:
                break
            end, looked = number, looked + 1
            if matches(types, logged.message.type):
                found.append(logged)
        # A reader that begins before the first message begins with what is there: it has lost nothing.
        return found, end, (end - after - looked if after else 0)

    def behind(self, after: int) -> Iterator[tuple[int, Logged]]:
        """What is kept behind a position, in order."""
        if after < self.first:
            # It is in order, and has none of the gaps that what is done with may leave behind one that is not.
            yield from self.kept.items()
            return
        for number in range(after + 1, self.appended + 1):
            if number in self.kept:
                yield number, self.kept[number]

    def count_behind(self, after: int) -> int:
        """How many are kept behind a position."""
        if after < self.first:
            return len(self.kept)
        return sum(number in self.kept for number in range(after + 1, self.appended + 1))

    def locate(self, at: int) -> int:
        """The number behind which everything lies that was appended at `at` or later."""
        numbers = range(self.first, self.appended + 1)
        return self.first + bisect_left(numbers, at, key=self._appended_at) - 1

    def begin_group(self, name: str, begin: str | int) -> Group:
        """A group that begins with the first message that is kept, at the end, or behind the number of a message."""
        begin = self._known(begin) if isinstance(begin, int) else begin
        if begin in ("begin", 0):
            group = Group(self.first - 1)
        elif isinstance(begin, int):
            group = Group(begin, max(0, self.appended - begin) - self.count_behind(begin))
        else:
            group = Group(self.appended)
        self.groups[name] = group
        return group

    def _known(self, number: int) -> int:
        """A number, or 0: one that was not reached yet is of an earlier topic of this name; all comes after it."""
        return number if number <= self.appended else 0

    def _group_status(self, name: str, group: Group) -> GroupStatus:
        held, waiting = group.counts()
        return GroupStatus(
            name,
            str(group.position) if group.position else "",
            unread=self.count_behind(group.position),
            held=held,
            waiting=waiting,
            dead=len(group.dead),
            consumers=group.consumers(),
        )

    def _sort_out(self, messages: Sequence[Message], now: int) -> tuple[list[Appended], list[Message]]:
        """Where each message lies, or will; and those that are new."""
        while self._ids and next(iter(self._ids.values()))[1] <= now:
            self._ids.popitem(last=False)
        answers, fresh = [], dict[str, int]()
        added: list[Message] = []
        for message in messages:
            number, until = self._ids.get(message.id, (0, now))
            known = number if until > now else fresh.get(message.id)
            if known is None:
                added.append(message)
                fresh[message.id] = self.appended + len(added)
            answers.append(Appended(str(known or fresh[message.id]), known is not None))
        return answers, added

    def _older_than(self, at: int, retention: Retention) -> list[int]:
        """The numbers of those that are too old, which go in any case."""
        oldest = 0 if retention.max_age_s is None else at - micros(retention.max_age_s)
        if not self.kept or self.kept[self.first].at >= oldest:
            return []
        last = self.locate(oldest)
        return [number for number in range(self.first, last + 1) if number in self.kept]

    def _done_with(self, count: int, retention: Retention, behind: int) -> list[int]:
        """The numbers of so many, the oldest, that every group is done with that `count` more find room.

        Raises:
            TopicFull: there are not so many of them.
        """
        if retention.when_full != "refuse" or retention.max_messages is None:
            return []
        needed = max(0, len(self.kept) + count - retention.max_messages)
        done = (number for number, _ in self.behind(behind) if self._is_done_with(number))
        found = list(islice(done, needed))
        if len(found) < needed:
            raise full(self.name, retention.max_messages)
        return found

    def _is_done_with(self, number: int) -> bool:
        return bool(self.groups) and all(group.is_done_with(number) for group in self.groups.values())

    def _add(self, messages: Sequence[Message], at: int, *, until: int) -> None:
        for message in messages:
            self.appended += 1
            self.kept[self.appended] = Logged(str(self.appended), at, message)
            self._ids[message.id] = (self.appended, until)
            self._ids.move_to_end(message.id)
        self.changed_at = at

    def _drop_oldest(self, retention: Retention) -> None:
        if retention.when_full == "drop_oldest" and retention.max_messages is not None:
            while len(self.kept) > retention.max_messages:
                self._drop(self.first)

    def _drop(self, number: int) -> None:
        del self.kept[number]
        for group in self.groups.values():
            group.lose(number)
        while self.first <= self.appended and self.first not in self.kept:
            self.first += 1

    def _appended_at(self, number: int) -> int:
        # The last one is always kept.
        while number not in self.kept:
            number += 1
        return self.kept[number].at
