"""An OpenAI-compatible ``/chat/completions`` endpoint, asked until it answers.

By the standard library: one POST that takes seconds gains nothing from a pool of connections, and
the client that huggingface_hub brings along needs a newer Python than this package.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple

from peclip_fast.errors import InputError
from peclip_fast.json_files import parse_json

LONGEST_WAIT = 60.0  # seconds between two attempts, unless the server asks for more
LONGEST_ASKED = 600.0  # seconds that a server may ask for
_AGAIN = (408, 429)
_EVERY_CLIP = (401, 402, 404)  # key, credit, address or name: wrong for every clip


class Reply(NamedTuple):
    """What the LLM said, the tokens that it counted, and why it ended (``stop``, ``length``)."""

    text: str
    usage: dict[str, int]
    finish: str


class RefusedError(InputError):
    """The endpoint can't be used for any clip."""


class NoReplyError(Exception):
    """A clip for which there is no reply; says why."""


class _AgainError(Exception):
    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to no other host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Endpoint:
    """Where and how to ask.

    Args:
        url: base address, such as ``http://localhost:8000/v1``.
        llm: the model's name there.
        key: sent as bearer token; None sends none.
        timeout: seconds without a sign of the server.
        retries: attempts after the first.
        backoff: seconds before the second attempt; doubled each time, and drawn from its half up.
    """

    url: str
    llm: str
    key: str | None
    timeout: float = 120.0
    retries: int = 5
    backoff: float = 1.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"--endpoint {self.url}: expected http://... or https://...")
        self.url = self.url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self.stopped, self._answered = Event(), False
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, prompt: str, images: Sequence[bytes]) -> Reply:
        """The reply to a prompt and JPEG images, in their order.

        Raises:
            NoReplyError: no attempt succeeded, this request was refused, or ``stopped`` is set.
            RefusedError: the endpoint refuses every request, or nothing was ever heard of it.
        """
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt}]
        for image in images:
            url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        body = {"model": self.llm, "messages": [{"role": "user", "content": content}]}
        data = json.dumps(body).encode()
        reason = "not asked, as the run was ended"
        for attempt in range(self.retries + 1):
            if self.stopped.is_set():
                break
            try:
                return self._attempt(data)
            except _AgainError as error:
                reason = str(error)
                if error.wait > LONGEST_ASKED:
                    raise NoReplyError(f"{reason}; asks to wait for {error.wait:.0f} s") from None
                wait = min(LONGEST_WAIT, self.backoff * 2**attempt) * random.uniform(0.5, 1)
                if attempt < self.retries:
                    self.stopped.wait(max(wait, error.wait))
        if not self._answered and not self.stopped.is_set():
            raise RefusedError(f"{self.url}: {reason}")
        raise NoReplyError(reason)

    def _attempt(self, data: bytes) -> Reply:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url, data, headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                self._answered = True
                raw = response.read()
        except urllib.error.HTTPError as error:
            self._answered = True
            with error:
                reason = f"HTTP {error.code}: {self._told(error)}"
            if error.code in _AGAIN or error.code >= 500:
                raise _AgainError(reason, _retry_after(error.headers)) from None
            if error.code in _EVERY_CLIP:
                raise RefusedError(f"{self.url}: {reason}") from None
            raise NoReplyError(reason) from None
        except ValueError as error:  # an address that can't be one, or a key with a line break
            raise RefusedError(f"{self.url}: can't be asked ({self._hidden(str(error))})") from None
        except (OSError, http.client.HTTPException) as error:
            raise _AgainError(f"no answer ({error or type(error).__name__})") from None
        try:
            return _parsed(parse_json(raw, "broken reply", _Answer))
        except InputError as error:
            start = self._hidden(" ".join(raw[:200].decode(errors="replace").split()))
            raise _AgainError(f"{self._hidden(str(error))}, beginning '{start}'") from None

    def _told(self, error: urllib.error.HTTPError) -> str:
        try:
            text = " ".join(error.read(2000).decode(errors="replace").split())[:200]
        except (OSError, http.client.HTTPException):
            text = str(error.reason)
        return self._hidden(text)

    def _hidden(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


@dataclass(frozen=True)
class _Part:
    text: Any = None
    type: Any = None


@dataclass(frozen=True)
class _Message:
    content: str | list[_Part] | None


@dataclass(frozen=True)
class _Choice:
    message: _Message
    finish_reason: Any = None


@dataclass(frozen=True)
class _Answer:
    """What has a message is an answer, and paid for: only that must be as it should."""

    choices: list[_Choice]
    usage: Any = None


def _parsed(reply: _Answer) -> Reply:
    if not reply.choices:
        raise InputError("broken reply: 'choices' is empty")
    choice = reply.choices[0]
    content = choice.message.content
    if isinstance(content, list):
        texts = [part.text for part in content if part.type == "text"]
        content = " ".join(text for text in texts if isinstance(text, str))
    usage = reply.usage if isinstance(reply.usage, dict) else {}
    counts = {
        key: usage[key] if isinstance(usage.get(key), int) else 0
        for key in ("prompt_tokens", "completion_tokens")
    }
    # Half of a surrogate pair, which JSON can hold, is no character: no file could keep it.
    lines = (content or "").encode(errors="replace").decode().splitlines()
    text = "\n".join(filter(None, (" ".join(line.split()) for line in lines)))
    return Reply(text, counts, str(choice.finish_reason or ""))


def _retry_after(headers: Any) -> float:
    """Seconds that the server asks to wait: given as such, or as a date."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
