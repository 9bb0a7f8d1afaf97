"""What makes work the same: its fingerprint, and the keys under which others know it."""

from __future__ import annotations

from coterie.context.bound import Bound
from coterie.ids import asked_hash, content_hash, idempotency_key, output_line, with_upstream
from coterie.result import output_hash

__all__ = ["Identified"]


class Identified(Bound):
    """Work that is known again: by other attempts, other engines, and all that store something about it."""

    @property
    def fingerprint(self) -> str:
        """What this attempt's output depends on: the agents' type and version, the input, upstream outputs."""
        agent = self.agent
        if agent is None or agent.type == self.task.agent_type:
            if self.unit is not None:
                return self.unit.fingerprint
            version = self.pool.version if self.pool is not None else agent.version if agent is not None else "0"
            return self.fingerprint_of(self.task.agent_type, version)
        # Another type that stands in: what it does is other work.
        return self.fingerprint_of(agent.type, agent.version)

    def fingerprint_of(self, agent_type: str, version: str, asked: bytes | None = None) -> str:
        """What the output of agents of this type and version depends on. asked: `ids.asked_hash` of it, if known."""
        if asked is None:
            # Not of `input`, which the agent may have changed.
            asked = asked_hash(agent_type, version, self.fresh_input())
        return with_upstream(asked, self.upstream_outputs())

    def upstream_outputs(self) -> bytes:
        """What a fingerprint takes in of the outputs that this work depends on."""
        # Of one_success, who has ended so far is chance: another attempt or engine may see more.
        if self.task.trigger_rule == "one_success":
            return b""
        # An item is its own value, wherever its list came from; unless the task says that it reads that too.
        names = self.task.upstream if self.item_key is None else self.task.depends_on
        if not names:
            return b""
        results, lines = self.run.results, self.run.output_lines
        try:
            return b"".join(map(lines.__getitem__, sorted(names)))
        except KeyError:
            for name in names:
                if name not in lines and name in results:
                    lines[name] = output_line(name, output_hash(results[name]))
        return b"".join([lines[name] for name in sorted(names) if name in lines])

    def cache_key(self, version: str) -> str:
        """The same for all work of the task's agent type with equal input, in any run.

        version: of the type's agents.
        """
        return self.fingerprint_of(self.task.agent_type, version)[:32]

    def ticket(self) -> str | None:
        """The name of this work's place in a pool's queue, where its caller may come back for it in another process."""
        if self.run.waits:
            return None
        if self.run.place is not None:
            return self.run.place
        return content_hash([self.run.namespace, self.run.workflow_id, self.task.id, self.item_key])[:32]

    @property
    def _work_key(self) -> str:
        """The same for every attempt, whatever step it is in."""
        return self._key() if self.given_key is None else self._derived_key(self.given_key)

    def _key(self) -> str:
        return idempotency_key(
            namespace=self.run.namespace,
            workflow_id=self.run.workflow_id,
            task_id=self.task.id,
            item_key=self.item_key,
            epoch=self.unit.epoch if self.unit is not None else self.run.epoch,
            fingerprint=self.fingerprint,
        )

    def _derived_key(self, given: str) -> str:
        """Of work that was asked for elsewhere, under a key of its own; others that stand in have another."""
        agent = self.agent
        return given if agent is None or agent.type == self.task.agent_type else content_hash([given, agent.type])
