"""The blocks for shared state: what the server keeps, what stays secret, what is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from prefect import get_client
from prefect.blocks.core import Block

from coterie.breaker import BreakerPolicy
from coterie.errors import Misuse, Unavailable
from coterie.pool import PoolPolicy
from coterie.stores.redis import RedisStateStore
from prefect_coterie import CoterieCircuitBreaker, CoterieResourcePool, CoterieStore, CoterieTeam
from prefect_coterie.source import block_of_store, store_or_default
from tests.prefect.protected import TEAM
from tests.support.redis_servers import free_port, valkey

pytestmark = pytest.mark.prefect

SECRET = "hush-hush"


def secret_store() -> CoterieStore:
    return CoterieStore(
        url="redis+sentinel://one:26379,two:26379/main?db=3",
        namespace="blue",
        username="me",
        password=SECRET,
        options={"sentinel_password": f"also-{SECRET}"},
    )


NESTING = [
    CoterieTeam(team_path=TEAM, namespace="green", store=secret_store()),
    CoterieCircuitBreaker(
        name="mine", store=secret_store(), mode="time", failure_rate=0.25, on_store_failure="fail_closed"
    ),
    CoterieResourcePool(agent_type="gpu", agents={"gpu-1": 2, "gpu-2": 4}, store=secret_store(), strategy="weighted"),
    secret_store(),
]


async def stored(block: Block, name: str) -> str:
    """What the server shows of a block to anybody."""
    async with get_client() as client:
        document = await client.read_block_document_by_name(name, block.get_block_type_slug(), include_secrets=False)
    return f"{document.data} {document.block_document_references}"


@pytest.mark.parametrize("block", NESTING, ids=lambda block: block.get_block_type_slug())
async def test_blocks_come_back_from_the_server_as_they_were(block: Any):
    await block.asave("round-trip", overwrite=True)

    loaded = await type(block).aload("round-trip")

    assert SECRET not in f"{block!r} {block} {await stored(block, 'round-trip')}"
    assert loaded.model_dump() == block.model_dump()
    store = loaded if isinstance(loaded, CoterieStore) else loaded.store
    assert store.password.get_secret_value() == SECRET
    assert store.options.get_secret_value() == {"sentinel_password": f"also-{SECRET}"}


async def test_a_saved_store_is_referred_to_and_changes_with_it():
    store = CoterieStore(url="redis://old:6379/0", password=SECRET)
    await store.asave("referred", overwrite=True)
    await CoterieTeam(team_path=TEAM, store=await CoterieStore.aload("referred")).asave("referring", overwrite=True)

    await CoterieStore(url="redis://new:6379/0").asave("referred", overwrite=True)

    team = await CoterieTeam.aload("referring")
    assert team.store is not None
    assert team.store.url == "redis://new:6379/0"
    assert SECRET not in await stored(team, "referring")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{SECRET}@host:6379/0",
        f"rediss://:{SECRET}@host:6379/0",
        f"unix://:{SECRET}@/run/redis.sock",
        f"redis+sentinel://host:26379/main?sentinel_password={SECRET}",
        f"redis://[me:{SECRET}@host",
    ],
)
def test_credentials_in_the_url_of_a_block_are_refused_and_not_shown(url: str):
    with pytest.raises(Misuse) as refusal:
        CoterieStore(url=url)

    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://me:p%40ss@host:6379/0", "redis://host:6379/0"),
        ("redis://:p%40ss@host:6379/0?protocol=2", "redis://host:6379/0?protocol=2"),
        ("unix://:p%40ss@/run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        (
            "rediss+sentinel://me:p%40ss@one:1,two:2/main?db=3&sentinel_password=x",
            "rediss+sentinel://one:1,two:2/main?db=3",
        ),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("sqlite:///srv/a@b.db", "sqlite:///srv/a@b.db"),
        ("memory://", "memory://"),
    ],
)
def test_credentials_of_a_url_become_secrets_and_come_back(url: str, plain: str):
    block = CoterieStore.from_url(url, namespace="blue")

    assert block.url == plain
    assert block.get_state_store().namespace == "blue"
    assert block.get_state_store().scope == block.scope
    assert "p@ss" not in f"{block!r}"
    if "@host" in url:
        assert block.password is not None
        assert block.password.get_secret_value() == "p@ss"


async def test_a_store_logs_in():
    with valkey(user="flows", password="p@ss/w:rd") as server:
        block = CoterieStore(url=f"redis://127.0.0.1:{server.port}/0", username="flows", password="p@ss/w:rd")
        wrong = CoterieStore(url=block.url, username="flows", password="wrong")
        store, other = block.get_state_store(), wrong.get_state_store()
        try:
            assert await store.keys("breaker") == []
            with pytest.raises(Misuse):
                await other.keys("breaker")
        finally:
            await store.aclose()
            await other.aclose()


async def test_who_does_not_answer_is_told_with_the_setting_that_names_him(monkeypatch: pytest.MonkeyPatch):
    url = f"redis://127.0.0.1:{free_port()}"
    monkeypatch.setenv("COTERIE_STORE", url)
    saved = CoterieStore(url=url)
    await saved.save("away", overwrite=True)
    loaded = await CoterieStore.load("away")
    team = CoterieTeam(team_path=TEAM)

    for block, setting in [
        (loaded, "the CoterieStore block 'away'"),
        (store_or_default(None), "COTERIE_STORE"),
        (await block_of_store(url, team), "the flow's code"),
    ]:
        for store in (block.get_state_store(), block.get_journal_store()):
            with pytest.raises(Unavailable, match=f"named by {setting}"):
                await (store.keys("breaker") if isinstance(store, RedisStateStore) else store.read("r1"))
            await store.aclose()


def test_a_database_takes_no_credentials():
    with pytest.raises(Misuse, match="neither a user nor options"):
        CoterieStore(url="sqlite://", password=SECRET).get_state_store()


@pytest.mark.parametrize(
    ("block", "policy"), [(CoterieCircuitBreaker, BreakerPolicy), (CoterieResourcePool, PoolPolicy)]
)
def test_every_setting_of_a_policy_is_a_field_with_its_default(block: type[Block], policy: type[Any]):
    settings = {field.name: (field.default, field.type) for field in fields(policy)}

    shown = {name: field.default for name, field in block.model_fields.items() if name in settings}

    assert shown == {name: default for name, (default, _) in settings.items()}


def test_choices_are_those_of_the_policies():
    from coterie._rules.balance import STRATEGIES
    from coterie._rules.breaker_policy import BreakerMode

    assert get_args(CoterieCircuitBreaker.model_fields["mode"].annotation) == get_args(BreakerMode)
    assert get_args(CoterieResourcePool.model_fields["strategy"].annotation) == STRATEGIES


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoterieCircuitBreaker(name="a", success_threshold=4), "it could never close"),
        (lambda: CoterieCircuitBreaker(name="a/b"), "not a usable name"),
        (lambda: CoterieResourcePool(agent_type="gpu", lease_s=1.0), "lease_s=1.0"),
        (lambda: CoterieResourcePool(agent_type="gpu", agents={"a": 0}), "greater than or equal to 1"),
        (lambda: CoterieResourcePool(agent_type="gpu", agents={"a b": 1}), "not a usable name"),
        (lambda: CoterieStore(url="memory://", namespace="a/b"), "not a usable name"),
    ],
)
def test_settings_that_cannot_work_are_refused_when_they_are_made(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


async def test_a_look_at_a_pool_moves_nothing(tmp_path: Any):
    block = CoterieResourcePool(agent_type="gpu", agents={"a": 1}, store=CoterieStore(url=f"sqlite://{tmp_path}/s.db"))

    assert (await block.aget_pool_status()).agents == ()
    async with block.lease():
        (agent,) = (await block.aget_pool_status()).agents
    assert (agent.agent_id, agent.capacity, agent.in_use) == ("a", 1, 1)
