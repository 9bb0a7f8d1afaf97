"""HTTP agents against a real server: what is sent, what comes back, how it fails."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import pytest
from opentelemetry import trace

from coterie import Orchestrator, Retry, Task
from coterie.agents import AgentThrottled, AgentUnavailable, BadAnswer, HttpAgent
from coterie.errors import Misuse, StepFailed
from tests.support.stub_provider import Behaviour, StubProvider

SECRET = "open-sesame-42"
AT_ONCE = Retry(base_s=0, cap_s=0)


async def perform(agent: HttpAgent, *, task_input: dict[str, Any] | None = None, **fields: Any):
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=agent)
    return await orchestrator.execute_task(Task("t", "x", input=task_input or {}, **fields), workflow_id="run-1")


# What is sent.


async def test_the_task_goes_out_in_an_envelope_and_the_answer_is_the_output(provider: StubProvider):
    provider.script(Behaviour(body={"found": [1, None, "ü"]}))

    result = await perform(HttpAgent(f"{provider.url}/review?v=1"), task_input={"path": "src"}, timeout_s=30)

    assert result.output == {"found": [1, None, "ü"]}
    (seen,) = provider.requests
    assert (seen.method, seen.path) == ("POST", "/review?v=1")
    assert seen.headers["content-type"] == "application/json"
    deadline = seen.json.pop("deadline")
    assert seen.at < deadline <= seen.at + 30
    assert {**seen.json, "deadline": None} == {
        "workflow_id": "run-1",
        "task_id": "t",
        "item_key": None,
        "attempt": 1,
        "deadline": None,
        "input": {"path": "src"},
    }


async def test_a_task_without_a_time_out_has_no_deadline(provider: StubProvider, ctx):
    await HttpAgent(provider.url)({}, ctx)

    assert provider.requests[0].json["deadline"] is None


async def test_the_bare_input_goes_out_on_request(provider: StubProvider, ctx):
    assert await HttpAgent(provider.url, body="input")({"a": 1}, ctx) == {"echo": {"a": 1}}
    assert provider.requests[0].json == {"a": 1}


async def test_every_attempt_sends_the_same_idempotency_key_and_its_own_number(provider: StubProvider):
    provider.script(Behaviour(status=503, times=2), Behaviour())

    result = await perform(HttpAgent(provider.url), retry=AT_ONCE)

    assert result.attempts == 3
    assert [seen.json["attempt"] for seen in provider.requests] == [1, 2, 3]
    keys = {seen.headers["idempotency-key"] for seen in provider.requests}
    assert len(keys) == 1
    assert await perform(HttpAgent(provider.url), task_input={"other": 1})
    assert provider.requests[-1].headers["idempotency-key"] not in keys


async def test_the_key_is_the_contexts(provider: StubProvider, ctx):
    await HttpAgent(provider.url)({}, ctx)

    assert provider.requests[0].headers["idempotency-key"] == ctx.idempotency_key


@pytest.mark.parametrize(("left_s", "timeout_s", "most"), [(5.0, 60.0, 5.0), (500.0, 60.0, 60.0), (-1.0, 60.0, 0.0)])
async def test_the_agent_is_told_how_long_anybody_waits(provider: StubProvider, ctx, left_s, timeout_s, most):
    ctx.deadline = time.time() + left_s

    await HttpAgent(provider.url, timeout_s=timeout_s)({}, ctx)

    told = float(provider.requests[0].headers["x-request-timeout"])
    assert 0 <= told <= most
    # What it has lost on the way here is never more than what has gone by.
    assert told >= min(timeout_s, ctx.deadline - provider.requests[0].at) - 0.002


async def test_the_trace_goes_on_where_there_is_a_span(provider: StubProvider, ctx):
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        await HttpAgent(provider.url)({}, ctx)
    await HttpAgent(provider.url)({}, ctx)

    traced, plain = provider.requests
    assert traced.headers["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert "traceparent" not in plain.headers


async def test_headers_come_from_code_and_from_the_environment_at_each_call(provider: StubProvider, ctx, monkeypatch):
    agent = HttpAgent(provider.url, headers={"X-Team": "a"}, headers_env={"X-Key": "AGENT_KEY"}, bearer_env="TOKEN")
    monkeypatch.setenv("AGENT_KEY", "first")
    monkeypatch.setenv("TOKEN", f"{SECRET}\n")
    await agent({}, ctx)
    monkeypatch.setenv("AGENT_KEY", "second")
    await agent({}, ctx)

    headers = [seen.headers for seen in provider.requests]
    assert [each["x-team"] for each in headers] == ["a", "a"]
    assert [each["x-key"] for each in headers] == ["first", "second"]
    assert headers[0]["authorization"] == f"Bearer {SECRET}"


async def test_a_secret_that_is_not_set_is_named_before_anything_is_sent(provider: StubProvider, ctx, monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)

    with pytest.raises(Misuse, match="the environment variable 'TOKEN' is not set"):
        await HttpAgent(provider.url, bearer_env="TOKEN")({}, ctx)
    assert not provider.requests


@pytest.mark.parametrize("value", [f"{SECRET}\nX-Evil: 1", f"{SECRET}\x00", f"{SECRET}ü"])
async def test_a_secret_that_no_header_can_hold_is_refused_without_repeating_it(provider, ctx, monkeypatch, value):
    if "\x00" not in value:
        monkeypatch.setenv("TOKEN", value)
    else:
        monkeypatch.setenv("TOKEN", value.replace("\x00", "\x01"))

    with pytest.raises(Misuse, match="'TOKEN' holds more than printable ASCII") as caught:
        await HttpAgent(provider.url, bearer_env="TOKEN")({}, ctx)

    assert SECRET not in str(caught.value)
    assert not provider.requests


async def test_no_cookie_travels_from_one_answer_to_the_next_request(provider: StubProvider, ctx):
    provider.script(Behaviour(headers={"Set-Cookie": "session=of-somebody; Path=/"}))

    await HttpAgent(provider.url)({}, ctx)
    await HttpAgent(provider.url)({}, ctx)

    assert all("cookie" not in seen.headers for seen in provider.requests)


# Secrets.


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(status=401, body={"error": f"the token Bearer {SECRET} is wrong", "key": "a-key/with-slash"}),
        Behaviour(status=503, text=f"{SECRET} a-key/with-slash"),
        Behaviour(text=f"<b>{SECRET}</b>", content_type="text/html"),
        Behaviour(text=f'{{"{SECRET}'),
        Behaviour(fault="close"),
        Behaviour(status=307, location="https://elsewhere.example/?t=1"),
    ],
    ids=lambda each: f"{each.status}-{each.content_type}-{each.fault}",
)
async def test_no_failure_and_no_log_repeats_a_secret(provider: StubProvider, caplog, monkeypatch, behaviour):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    monkeypatch.setenv("TOKEN", SECRET)
    provider.script(behaviour)
    agent = HttpAgent(provider.url, headers={"X-Key": "a-key/with-slash"}, bearer_env="TOKEN")

    result = await perform(agent)

    assert result.state == "failed"
    assert provider.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    told = f"{result.error} {agent!r} {caplog.text}"
    assert SECRET not in told
    assert "a-key/with-slash" not in told


def test_neither_headers_nor_the_query_are_in_what_is_shown():
    agent = HttpAgent("https://host:1/p?code=abc", headers={"X-Key": SECRET}, headers_env={"Y": "VARIABLE"})

    assert repr(agent) == "HttpAgent('https://host:1/p', body='envelope')"


# How it fails.


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
async def test_a_status_that_says_later_is_tried_again(provider: StubProvider, status):
    provider.script(Behaviour(status=status, times=1), Behaviour(body="done"))

    result = await perform(HttpAgent(provider.url), retry=AT_ONCE)

    assert (result.output, result.attempts) == ("done", 2)


async def test_a_throttled_agent_says_how_long(provider: StubProvider, ctx):
    provider.script(Behaviour(status=429, retry_after="17", text="slow down\r\n\x1b[31mnow"))

    with pytest.raises(AgentThrottled) as caught:
        await HttpAgent(provider.url)({}, ctx)

    assert (caught.value.status, caught.value.retry_after_s) == (429, 17.0)
    assert "answered with HTTP status 429: 'slow down [31mnow'; try again in 17 s" in str(caught.value)


async def test_retry_after_may_be_a_date(provider: StubProvider, ctx):
    headers = {"Date": "Wed, 18 Nov 2026 11:06:40 GMT"}
    provider.script(Behaviour(status=503, retry_after="Wed, 18 Nov 2026 11:07:10 GMT", headers=headers))

    with pytest.raises(AgentUnavailable) as caught:
        await HttpAgent(provider.url)({}, ctx)

    assert caught.value.retry_after_s == 30.0


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 410, 413, 422])
async def test_any_other_refusal_is_final(provider: StubProvider, status):
    provider.script(Behaviour(status=status, body={"error": "no such field"}))

    result = await perform(HttpAgent(provider.url), retry=AT_ONCE)

    assert result.attempts == 1
    assert result.error.type == "AgentRejected"
    assert f'answered with HTTP status {status}: \'{{"error": "no such field"}}\'' in result.error.message


async def test_no_content_is_null(provider: StubProvider, ctx):
    provider.script(Behaviour(status=204))

    assert await HttpAgent(provider.url)({}, ctx) is None


@pytest.mark.parametrize("fault", ["reset", "close", "cut"])
async def test_a_lost_connection_is_tried_again(provider: StubProvider, fault):
    provider.script(Behaviour(fault=fault, times=1), Behaviour(body="done"))

    result = await perform(HttpAgent(provider.url), retry=AT_ONCE)

    assert (result.output, result.attempts) == ("done", 2)


async def test_nobody_there_is_unavailable(ctx):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a"

        with pytest.raises(AgentUnavailable, match=f"'{url}' could not be reached: ConnectError") as caught:
            await HttpAgent(url)({}, ctx)

    assert (caught.value.status, caught.value.retry_after_s) == (None, None)


async def test_a_connection_that_is_never_made_is_unavailable(ctx):
    with socket.socket() as busy, socket.socket() as first, socket.socket() as second:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())  # and now its queue is full

        with pytest.raises(AgentUnavailable, match="could not be reached: ConnectTimeout"):
            await HttpAgent(f"http://127.0.0.1:{busy.getsockname()[1]}/", connect_timeout_s=0.05)({}, ctx)


async def test_a_name_that_does_not_resolve_is_unavailable(ctx):
    with pytest.raises(AgentUnavailable, match="could not be reached: ConnectError"):
        await HttpAgent("http://no-such-host.invalid/")({}, ctx)


async def test_what_speaks_no_http_is_unavailable(ctx):
    async def mumble(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(mumble, "127.0.0.1", 0)
    try:
        with pytest.raises(AgentUnavailable, match="RemoteProtocolError"):
            await HttpAgent(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")({}, ctx)
    finally:
        server.close()


async def test_an_agent_that_does_not_answer_in_time_is_unavailable(provider: StubProvider, ctx):
    provider.script(Behaviour(hold=True))

    with pytest.raises(AgentUnavailable, match=r"did not answer within 0\.05 s; try again later, or raise timeout_s"):
        await HttpAgent(provider.url, timeout_s=0.05)({}, ctx)


async def test_an_answer_that_trickles_for_ever_is_cut_off_too(provider: StubProvider, ctx):
    provider.script(Behaviour(fault="endless"))

    with pytest.raises(AgentUnavailable, match="did not answer within"):
        await HttpAgent(provider.url, timeout_s=0.2, answer_limit_bytes=2**40)({}, ctx)
    await asyncio.to_thread(provider.wait_for_disconnect)


async def test_the_tasks_own_time_out_ends_the_request(provider: StubProvider):
    provider.script(Behaviour(hold=True))

    result = await perform(HttpAgent(provider.url), timeout_s=0.1)

    assert result.error.type == "TaskTimedOut"
    await asyncio.to_thread(provider.wait_for_disconnect)


async def test_a_cancelled_call_is_cancelled_and_hangs_up(provider: StubProvider, ctx):
    provider.script(Behaviour(hold=True))
    call = asyncio.create_task(HttpAgent(provider.url)({}, ctx))
    await asyncio.to_thread(provider.wait_for_requests, 1)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(provider.wait_for_disconnect)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(fault="half_json"), "did not answer with JSON"),
        (Behaviour(text="<h1>Log in</h1>", content_type="text/html"), "answered with 'text/html': '<h1>Log in</h1>'"),
        (Behaviour(text="", content_type="application/json"), "did not answer with JSON"),
    ],
)
async def test_a_success_without_json_is_a_bad_answer_and_tried_again(provider: StubProvider, ctx, behaviour, message):
    provider.script(behaviour)

    with pytest.raises(BadAnswer, match=message):
        await HttpAgent(provider.url)({}, ctx)
    assert (await perform(HttpAgent(provider.url), retry=AT_ONCE)).attempts == 3


async def test_reading_stops_when_the_answer_is_too_long(provider: StubProvider):
    provider.script(Behaviour(fault="endless"))

    result = await perform(HttpAgent(provider.url, answer_limit_bytes=10_000), retry=AT_ONCE)

    assert result.attempts == 1
    assert result.error.type == "StepFailed"
    assert "answered with more than 10000 bytes" in result.error.message
    await asyncio.to_thread(provider.wait_for_disconnect)


@pytest.mark.parametrize(("limit", "fits"), [(8, True), (7, False)])
async def test_the_limit_is_exact(provider: StubProvider, ctx, limit, fits):
    provider.script(Behaviour(text='"123456"'))
    agent = HttpAgent(provider.url, answer_limit_bytes=limit)

    if fits:
        assert await agent({}, ctx) == "123456"
    else:
        with pytest.raises(StepFailed, match="more than 7 bytes"):
            await agent({}, ctx)


async def test_of_a_compressed_failure_nothing_is_shown(provider: StubProvider, ctx):
    provider.script(Behaviour(status=500, text="x", headers={"Content-Encoding": "gzip"}))

    with pytest.raises(AgentUnavailable, match="HTTP status 500; try again later"):
        await HttpAgent(provider.url)({}, ctx)


async def test_of_an_endless_failure_only_the_beginning_is_read(provider: StubProvider, ctx):
    provider.script(Behaviour(status=500, fault="endless"))

    with pytest.raises(AgentUnavailable, match="HTTP status 500"):
        await HttpAgent(provider.url)({}, ctx)
    await asyncio.to_thread(provider.wait_for_disconnect)


async def test_a_compressed_answer_is_refused(provider: StubProvider, ctx):
    provider.script(Behaviour(text="x", headers={"Content-Encoding": "gzip"}))

    with pytest.raises(StepFailed, match="content encoding 'gzip', which was not asked for"):
        await HttpAgent(provider.url)({}, ctx)
    assert provider.requests[0].headers["accept-encoding"] == "identity"
