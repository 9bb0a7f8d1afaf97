"""HTTP agents that are sent elsewhere: to the same place as asked, or not at all."""

from __future__ import annotations

import pytest

from coterie.agents import AgentUnavailable, HttpAgent
from coterie.errors import Final, StepFailed
from tests.support.stub_provider import Behaviour, StubProvider, serving

SECRET = "open-sesame-42"


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_to_the_same_place_repeats_the_request(provider: StubProvider, ctx, status):
    provider.script(Behaviour(status=status, location="/new?x=1"), path="/old")

    assert await HttpAgent(f"{provider.url}/old", body="input")({"a": 1}, ctx) == {"echo": {"a": 1}}

    first, second = provider.requests
    assert (second.method, second.path, second.body) == ("POST", "/new?x=1", first.body)
    assert second.headers["idempotency-key"] == first.headers["idempotency-key"]


async def test_a_redirect_to_another_host_is_not_followed(provider: StubProvider, ctx, monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    with serving() as other:
        here, there = (each.url.removeprefix("http://") for each in (provider, other))
        for location in (other.url, f"//{there}", f"{other.url}\\@{here}", f"http://{there}@{here}"):
            provider.script(Behaviour(status=307, location=f"{location}/steal?q=1"))

            with pytest.raises(StepFailed, match=r"redirects to '.*/steal', which is not followed") as caught:
                await HttpAgent(provider.url, bearer_env="TOKEN")({}, ctx)
            assert isinstance(caught.value, Final)
            assert "q=1" not in str(caught.value)
            assert SECRET not in str(caught.value)

        assert not other.requests


@pytest.mark.parametrize("location", ["https://127.0.0.1/", "file:///etc/passwd", "http://[", "", "//host"])
async def test_a_redirect_to_anything_else_is_not_followed(provider: StubProvider, ctx, location):
    provider.script(Behaviour(status=308, location=location))

    with pytest.raises(StepFailed, match="which is not followed"):
        await HttpAgent(provider.url)({}, ctx)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("location", ["http://a:b/", "//[::1"])
async def test_a_redirect_that_cannot_be_read_is_no_answer(provider: StubProvider, ctx, location):
    provider.script(Behaviour(status=308, location=location))

    with pytest.raises(AgentUnavailable, match="Invalid URL in location header"):
        await HttpAgent(provider.url)({}, ctx)
    assert len(provider.requests) == 1


async def test_redirects_are_bounded(provider: StubProvider, ctx):
    provider.script(Behaviour(status=307, location="/again"))

    with pytest.raises(StepFailed, match="redirects more than 2 times"):
        await HttpAgent(provider.url, max_redirects=2)({}, ctx)
    assert len(provider.requests) == 3


@pytest.mark.parametrize("status", [301, 302, 303, 304])
async def test_a_redirect_that_would_change_the_request_is_final(provider: StubProvider, ctx, status):
    provider.script(Behaviour(status=status, location="/new"))

    with pytest.raises(StepFailed, match=f"redirects with status {status}; give the address"):
        await HttpAgent(provider.url)({}, ctx)
    assert len(provider.requests) == 1
