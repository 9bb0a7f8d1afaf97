"""The block for the state store: where breakers, pools, limits and budgets count, for all that share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field, HttpUrl, PrivateAttr, SecretStr, field_validator

from coterie.errors import Misuse, PolicyError
from coterie.ids import check_name
from coterie.telemetry.links import trace_url_of
from prefect_coterie.appearance import DOCUMENTATION, LOGO

if TYPE_CHECKING:
    from coterie.bus import EventBus, Signing
    from coterie.ports import JournalStore, LogStore, Scope, StateStore

__all__ = ["CoterieStore"]

_OF_ONE_PROCESS = "memory"
_OF_ONE_MACHINE = "sqlite"


class CoterieStore(Block):
    """Where breakers, pools, limits and budgets count: all runs with the same store and namespace share them."""

    _block_type_name: ClassVar[str] = "Coterie Store"
    _block_type_slug: ClassVar[str] = "coterie-store"
    _logo_url: ClassVar[HttpUrl] = LOGO
    _documentation_url: ClassVar[HttpUrl] = DOCUMENTATION
    _code_example: ClassVar[str] = """\
Have all runs, on whatever machine, share what protects their agents:

```python
from prefect import flow
from prefect_coterie import CoterieStore, run_agent


@flow
def write(text: str):
    store = CoterieStore.load("BLOCK_NAME")
    return run_agent("writer", {"text": text}, team="coterie.teams.fleet:team", store=store)
```
"""

    url: str = Field(
        description="Without credentials: 'redis://host:6379/0' for a fleet, 'sqlite:///srv/coterie/state.db' for one "
        "machine, 'memory://' for one process.",
    )
    namespace: str = Field(
        default="default",
        description="Keeps the state of separate deployments apart; part of every key.",
    )
    username: SecretStr | None = Field(
        default=None,
        description="Who logs in to Redis; without one, its default user.",
    )
    password: SecretStr | None = Field(
        default=None,
        description="The password of that user; without one nobody logs in.",
    )
    options: SecretDict = Field(
        default_factory=lambda: SecretDict({}),
        description="What else the URL would say after its '?', such as 'ssl_ca_certs' or 'sentinel_password'.",
    )

    journal: Literal["strict", "relaxed", "off"] = Field(
        default="strict",
        description="Whether what runs have finished is recorded here, so that it is never done again: so that it "
        "survives a power cut ('strict'), or the end of a process ('relaxed'), or not at all ('off').",
    )
    topic: str = Field(
        default="events",
        description="The topic of the events that runs publish here, and wait for.",
    )
    signing_keys: SecretStr | None = Field(
        default=None,
        description="What events are signed with, and must be signed with: 'id:secret,...', of which the first signs; "
        "by default what COTERIE_SIGNING_KEYS says.",
    )
    announce: bool = Field(
        default=False,
        description="Whether what becomes of the tasks of runs, and of what protects their agents, is published there: "
        "'task.failed', 'breaker.opened' and the like, without inputs and outputs.",
    )
    trace_url: str | None = Field(
        default=None,
        description="Where the trace of a run is to be seen, for a link among its artifacts, such as "
        "'https://jaeger.example/trace/{trace_id}'; its fields are {trace_id}, {run_id}, {namespace} and {task_id}. By "
        "default what COTERIE_TRACE_URL says.",
    )

    _named_by: str | None = PrivateAttr(default=None)

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        return check_name(value, "namespace")

    def block_initialization(self) -> None:
        """Refuse what belongs into the secret fields, and what is no template.

        Not in a validator, whose errors show the value.

        Raises:
            Misuse: a URL carries credentials. PolicyError: that of traces is none.
        """
        parts = _parts(self.url)
        if "@" in parts.netloc or any(_is_secret(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
            raise Misuse(
                "the URL of a CoterieStore carries credentials, which everybody would see; "
                "give them as its username and password, or among its options"
            )
        trace_url_of(self.trace_url, where="the trace_url of a CoterieStore")

    @classmethod
    def from_url(cls, url: str, *, namespace: str = "default", named_by: str | None = None) -> CoterieStore:
        """The block for a URL that may carry credentials, as `COTERIE_STORE` may: they become secrets.

        named_by: the setting that holds the URL, for messages.

        Raises:
            Misuse: it is not a URL.
        """
        block = cls._of_url(url, namespace)
        block._named_by = named_by  # noqa: SLF001  # its own
        return block

    @classmethod
    def _of_url(cls, url: str, namespace: str) -> CoterieStore:
        parts = _parts(url)
        login, at, hosts = parts.netloc.rpartition("@")
        options = parse_qsl(parts.query, keep_blank_values=True)
        secret = {name: value for name, value in options if _is_secret(name)}
        if not at and not secret:
            return cls(url=url, namespace=namespace)
        plain = urlencode([one for one in options if one[0] not in secret])
        username, _, password = login.partition(":")
        return cls(
            url=f"{parts.scheme}://{hosts}{parts.path}{'?' if plain else ''}{plain}",
            namespace=namespace,
            username=SecretStr(unquote(username)) if username else None,
            password=SecretStr(unquote(password)) if password else None,
            options=SecretDict(secret),
        )

    @property
    def scope(self) -> Scope:
        """Who can share the state: the tasks of one process, the processes of one machine, a fleet."""
        scheme = self.url.partition("://")[0]
        if scheme == _OF_ONE_PROCESS:
            return "process"
        return "machine" if scheme == _OF_ONE_MACHINE else "fleet"

    def get_state_store(self) -> StateStore:
        """The store, for coroutines of one event loop; close it when done.

        Nothing is connected or made before it is used.

        Raises:
            Misuse: no store has such URLs, it takes no credentials, or its package is not installed.
        """
        from coterie.stores.opening import open_state_store

        return open_state_store(self._whole_url(), self.namespace, named_by=self._setting())

    def get_journal_store(self) -> JournalStore:
        """The store of the journal, beside the state; as `get_state_store`.

        Raises:
            Misuse: as there; or the journal is off.
        """
        from coterie.stores.opening import open_journal_store

        if self.journal == "off":
            raise Misuse("this CoterieStore has its journal off; set journal to 'strict' or 'relaxed'")
        url, named_by = self._whole_url(), self._setting()
        return open_journal_store(url, self.namespace, durability=self.journal, named_by=named_by)

    def get_log_store(self) -> LogStore:
        """The store of events and of what remote workers are asked for, beside the state; as `get_state_store`."""
        from coterie.stores.opening import open_log_store

        return open_log_store(self._whole_url(), self.namespace, named_by=self._setting())

    def get_event_bus(self, topic: str | None = None) -> EventBus:
        """A bus for coroutines of one event loop; use it as `async with`, or close it when done.

        topic: by default the block's.

        Raises:
            Misuse: as `get_state_store`. PolicyError: the signing keys cannot be ones.
        """
        from coterie.bus import EventBus

        return EventBus.open(
            self._whole_url(),
            namespace=self.namespace,
            named_by=self._setting(),
            topic=topic or self.topic,
            signing=self._signing(),
        )

    def get_event_bus_on(self, log: LogStore) -> EventBus:
        """The bus in a log store of this block's that is open already, and stays its opener's."""
        from coterie.bus import EventBus

        return EventBus(log, topic=self.topic, signing=self._signing())

    def _signing(self) -> Signing | None:
        from coterie.bus import Signing

        return Signing.from_environment() if self.signing_keys is None else signing_of(self.signing_keys)

    def _setting(self) -> str:
        """Whence the URL is, for messages: a person who reads that its server is away looks there."""
        name = self._block_document_name
        return self._named_by or (f"the CoterieStore block {name!r}" if name else "a CoterieStore in the flow's code")

    def _whole_url(self) -> str:
        login = self._login()
        options = self.options.get_secret_value()
        if (login or options) and self.scope != "fleet":
            raise Misuse(f"a store at {self.url!r} takes neither a user nor options; leave them out")
        scheme, _, rest = self.url.partition("://")
        mark = "" if not options else "&" if "?" in rest else "?"
        return f"{scheme}://{login}{rest}{mark}{urlencode(options)}"

    def _login(self) -> str:
        username = self.username.get_secret_value() if self.username is not None else ""
        password = self.password.get_secret_value() if self.password is not None else ""
        if not username and not password:
            return ""
        return f"{quote(username, safe='')}:{quote(password, safe='')}@"


def signing_of(keys: SecretStr) -> Signing:
    """What a text such as `id:secret,...` says, of which the first key signs.

    Raises:
        PolicyError: it is none; no message shows it.
    """
    from coterie.bus import Signing

    pairs = [part.strip().partition(":") for part in keys.get_secret_value().split(",")]
    if any(not colon for _, colon, _ in pairs):
        raise PolicyError(
            "the signing keys of a CoterieStore are not 'id:secret,...'; write each as its id, a colon, its secret"
        )
    return Signing(keys={name: secret for name, _, secret in pairs})


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Python's message may quote a part of the password.
        raise Misuse("the URL of a state store is not a URL; give one such as 'redis://host:6379/0'") from None


def _is_secret(option: str) -> bool:
    return "password" in option or "username" in option
