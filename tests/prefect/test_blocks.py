"""The blocks: Prefect's own standards, what the server stores, and what must never change."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import get_client
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.testing.standard_test_suites import blocks as standard

from coterie import ArtifactStore, sync
from coterie.errors import Misuse
from prefect_coterie import (
    CoterieArtifacts,
    CoterieCircuitBreaker,
    CoterieEventBridge,
    CoterieResourcePool,
    CoterieStore,
    CoterieTeam,
)
from prefect_coterie.source import artifacts_of, namespace_of, team_of
from tests.prefect.trial import TEAM, team

pytestmark = pytest.mark.prefect

BLOCKS = (
    CoterieTeam,
    CoterieArtifacts,
    CoterieStore,
    CoterieCircuitBreaker,
    CoterieResourcePool,
    CoterieEventBridge,
)
LOGO = Path(__file__).resolve().parents[2] / "docs" / "assets" / "logo.png"


def _our_page(url: str) -> io.BytesIO:
    """The project's site, as far as the standards look at it: the logo lies in this repository."""
    assert url.endswith("/logo.png"), url
    return io.BytesIO(LOGO.read_bytes())


@pytest.fixture(autouse=True)
def our_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard, "urlopen", _our_page)


class TestTeamStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieTeam


class TestArtifactsStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieArtifacts


class TestStoreStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieStore


class TestBreakerStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieCircuitBreaker


class TestPoolStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieResourcePool


class TestBridgeStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self) -> type[Block]:
        return CoterieEventBridge


@pytest.mark.parametrize(
    ("block", "slug", "fields"),
    [
        (CoterieTeam, "coterie-team", "team_path namespace store"),
        (CoterieArtifacts, "coterie-artifacts", "url namespace storage_options shared_file_system"),
        (
            CoterieStore,
            "coterie-store",
            "url namespace username password options journal topic signing_keys announce trace_url",
        ),
        (
            CoterieCircuitBreaker,
            "coterie-circuit-breaker",
            (
                "name store on_store_failure mode failure_threshold success_threshold timeout_s half_open_max_calls "
                "failure_rate slow_call_s slow_rate window_calls window_s min_calls probe_timeout_s round_timeout_s "
                "timeout_growth max_timeout_s jitter"
            ),
        ),
        (
            CoterieResourcePool,
            "coterie-resource-pool",
            (
                "agent_type agents store strategy lease_s heartbeat_s agent_ttl_s ageing_s queue_limit healthy_share "
                "max_wait_s claim_s deferred_claim_s ticket_s"
            ),
        ),
        (CoterieEventBridge, "coterie-event-bridge", "to_prefect from_prefect store name begin confirm"),
    ],
)
def test_slugs_and_the_order_of_fields_are_for_ever(block: type[Block], slug: str, fields: str):
    known = fields.split()

    assert block.get_block_type_slug() == slug
    assert list(block.model_fields)[: len(known)] == known


async def test_the_command_line_registers_all():
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_coterie"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert "registered 6 blocks" in done.stdout
    async with get_client() as client:
        for slug in (block.get_block_type_slug() for block in BLOCKS):
            assert (await client.read_block_type_by_slug(slug)).logo_url is not None


async def test_a_saved_team_is_imported_where_it_is_used():
    await CoterieTeam(team_path=TEAM, namespace="blue").asave("saved", overwrite=True)

    block = await CoterieTeam.aload("saved")

    assert block.get_team() is team
    assert block.namespace == "blue"


async def test_options_of_a_store_are_kept_secret():
    block = CoterieArtifacts(url="s3://bucket/prefix", storage_options={"key": "me", "secret": "hush-hush"})
    await block.asave("secret", overwrite=True)

    async with get_client() as client:
        document = await client.read_block_document_by_name("secret", "coterie-artifacts", include_secrets=False)
    loaded = await CoterieArtifacts.aload("secret")

    assert "hush-hush" not in f"{block!r} {block} {document.data}"
    assert loaded.storage_options.get_secret_value() == {"key": "me", "secret": "hush-hush"}


async def test_artifacts_open_a_store_for_coroutines_and_for_others(tmp_path: Path):
    block = CoterieArtifacts(url=f"file://{tmp_path}", namespace="blue")

    ref = await block.get_store().put(["x" * 1000])

    assert isinstance(block.get_store(), ArtifactStore)
    assert isinstance(block.get_blocking_store(), sync.ArtifactStore)
    assert "/blue/" in ref.uri
    assert await block.get_store().load(ref) == ["x" * 1000]


def test_credentials_in_a_url_are_refused():
    # Before the server could keep them where everybody sees them.
    with pytest.raises(Misuse, match="credentials") as refusal:
        CoterieArtifacts(url="s3://me:hush-hush@bucket/prefix")
    assert "hush-hush" not in str(refusal.value)


def test_a_namespace_is_a_name():
    with pytest.raises(ValueError, match="not a usable name"):
        CoterieTeam(team_path=TEAM, namespace="a/b")


def test_importing_the_package_contacts_no_server_and_loads_no_team():
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "import prefect_coterie\n"
        "print(*[name for name in ('coterie.teams', 'fsspec', 'upath', 'pydantic_ai') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)

    assert [name for name in done.stdout.split() if name != "fsspec"] == []


async def test_without_a_block_the_environment_names_the_namespace(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_NAMESPACE", "green")

    assert namespace_of(await team_of(TEAM)) == namespace_of(team) == "green"
    assert (await artifacts_of(None)).namespace == "green"
    assert namespace_of(CoterieTeam(team_path=TEAM, namespace="blue")) == "blue"


async def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_NAMESPACE", "")
    monkeypatch.setenv("COTERIE_ARTIFACTS", "")

    assert namespace_of(await team_of(TEAM)) == "default"
    assert (await artifacts_of(None)).url.startswith("file:///")
