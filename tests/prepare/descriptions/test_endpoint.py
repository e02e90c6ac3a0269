"""The client against a local endpoint that fails in every way."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers.llm_server import Llm

from peclip_fast.errors import InputError
from peclip_fast.prepare.descriptions.endpoint import Endpoint, NoReplyError, RefusedError, Reply

GOOD = Reply("A mouth opens.", {"prompt_tokens": 10, "completion_tokens": 5}, "stop")


def endpoint(llm: Llm, retries: int = 3, timeout: float = 20) -> Endpoint:
    return Endpoint(llm.url, "test", "s3cret", timeout=timeout, retries=retries, backoff=0.01)


def answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}}], **more}


def test_what_is_sent(llm: Llm) -> None:
    assert endpoint(llm).ask("Say it.", [b"one", b"two"]) == GOOD
    (request,) = llm.requests
    assert (request["path"], request["key"]) == ("/v1/chat/completions", "Bearer s3cret")
    assert request["model"] == "test"
    content = request["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "image_url"]
    assert content[1]["image_url"]["url"] == "data:image/jpeg;base64,b25l"


@pytest.mark.parametrize(
    "failure",
    ["late", "half", "broken", "html", 429, 500, 503, 408, {"error": {"code": 1}}, {"a": []}],
)
def test_what_passes_is_asked_for_again(llm: Llm, failure: Any) -> None:
    llm.failures = [failure, failure]
    timeout = 2 if failure == "late" else 20
    assert endpoint(llm, timeout=timeout).ask("Say it.", []) == GOOD
    assert len(llm.requests) == 3


@pytest.mark.parametrize(
    "failure", ["late", "half", "broken", 429, 502, {"choices": []}, {"choices": "text"}]
)
def test_it_gives_up_after_the_retries(llm: Llm, failure: Any) -> None:
    llm.always = [answer(None)]
    client = endpoint(llm, retries=1, timeout=2 if failure == "late" else 20)
    client.ask("It is there.", [])
    llm.always = [failure]
    with pytest.raises(NoReplyError):
        client.ask("Say it.", [])
    assert len(llm.requests) == 3


@pytest.mark.parametrize("wait", ["0.5", "date"])
def test_the_server_says_how_long_to_wait(llm: Llm, wait: str) -> None:
    llm.failures = ["date"] if wait == "date" else [(429, wait)]
    endpoint(llm).ask("Say it.", [])
    first, second = llm.times
    assert second - first >= (0.9 if wait == "date" else 0.5)


def test_nobody_waits_for_a_day(llm: Llm) -> None:
    llm.always = [(429, "86400")]
    start = time.monotonic()
    with pytest.raises(NoReplyError, match="86400 s"):
        endpoint(llm).ask("Say it.", [])
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", ""])
def test_a_wait_that_is_none_is_left_out(llm: Llm, wait: str) -> None:
    llm.failures = [(503, wait)]
    assert endpoint(llm).ask("Say it.", []) == GOOD


@pytest.mark.parametrize("code", [401, 402, 404])
def test_what_is_wrong_for_all_ends_the_run_and_hides_the_key(llm: Llm, code: int) -> None:
    llm.failures = [code]
    with pytest.raises(RefusedError, match=f"HTTP {code}"):
        endpoint(llm).ask("Say it.", [])
    assert len(llm.requests) == 1


@pytest.mark.parametrize("code", [400, 413, 422, 301, 307])
def test_a_refusal_isnt_repeated_and_no_redirect_followed(llm: Llm, code: int) -> None:
    llm.failures = [code]
    with pytest.raises(NoReplyError, match=f"HTTP {code}"):
        endpoint(llm).ask("Say it.", [])
    assert len(llm.requests) == 1


def test_nobody_there_is_one_clear_error_after_the_retries(llm: Llm) -> None:
    client = endpoint(llm, retries=2)
    llm.shutdown()
    llm.server_close()
    with pytest.raises(RefusedError, match=r"http://127.*no answer \(.*refused"):
        client.ask("Say it.", [])


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "", "http://exa mple/v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match=r"http://|can't be asked"):
        Endpoint(url, "test", None, timeout=0.2, retries=0).ask("Say it.", [])


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (answer([{"type": "text", "text": "One"}, {"type": "text", "text": "two."}]), "One two."),
        (answer(" A  1 \n\n b "), "A 1\nb"),
        (answer("A \ud800 b"), "A ? b"),
        (answer(None), ""),
        (answer(""), ""),
        (answer("Yes.", usage=None), "Yes."),
        (answer("Yes.", usage={"prompt_tokens": None}), "Yes."),
        (answer("Yes.", usage=[1]), "Yes."),
    ],
)
def test_what_has_a_message_is_paid_for_and_taken(llm: Llm, reply: Any, wanted: str) -> None:
    llm.failures = [reply]
    found = endpoint(llm).ask("Say it.", [])
    assert (found.text, found.finish) == (wanted, "")
    assert found.usage == {"prompt_tokens": 0, "completion_tokens": 0}
    assert len(llm.requests) == 1


def test_after_the_end_nothing_is_asked(llm: Llm) -> None:
    client = endpoint(llm)
    client.stopped.set()
    with pytest.raises(NoReplyError, match="ended"):
        client.ask("Say it.", [])
    assert not llm.requests
