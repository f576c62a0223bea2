"""Requests to one server: JSON in, JSON out, several at a time, again where that may help."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import certifi
import urllib3
from urllib3 import exceptions
from urllib3.util import Retry

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.spec.cell import Server

# urllib3 is what requests stands on, which datasets brings: no package more. Asked without requests it reads an answer
# before it calls a request done, so that one that is cut in its middle is asked for again, too; and it knows of no
# proxy and no .netrc: what is sent goes to the address that was typed. It waits as the server's Retry-After says, else
# 0.5, 1, 2, ... seconds.
RETRIES, BACKOFF, STATUSES = 6, 0.5, (429, 500, 502, 503, 504)
SECONDS, SECONDS_TO_CONNECT = 600, 20
"""So long an answer may take: a first prompt of many thousand tokens on a CPU does."""
MAX_SHOWN = 200
NO_KEY = (401, 403)
"""Status where a key is wanted, or is the wrong one."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Unreachable(ModelError):
    """Nobody answers."""


class Refused(ModelError):
    """The server understood, and does not do what was asked; or it answers what is no answer.

    Args:
        status: Of HTTP; 200 where the answer was none.
    """

    def __init__(self, message: str, status: int, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Client:
    """One server.

    Args:
        server: Its address, how many requests run at once, and which environment variable holds its key. The key is
            read when a request is made, and goes into no message: not as part of what the server answers, either.

    Raises:
        ModelError: The variable is not set, or holds what no header may.
    """

    def __init__(self, server: Server) -> None:
        self._url, self._key_variable = server.url.rstrip("/"), server.key_variable
        self._workers = ThreadPoolExecutor(server.concurrency, thread_name_prefix="served")
        self._retry = Retry(
            total=RETRIES,
            backoff_factor=BACKOFF,
            status_forcelist=STATUSES,
            allowed_methods=None,  # asking twice changes nothing
            raise_on_status=False,
        )
        # What listens nowhere when a run begins does not listen after half a minute; later it may be starting again.
        self._first_retry = self._retry.new(connect=0)
        self._pool = urllib3.PoolManager(
            maxsize=server.concurrency,
            timeout=urllib3.Timeout(connect=SECONDS_TO_CONNECT, read=SECONDS),
            ca_certs=certifi.where(),
        )
        self._key()

    def get(self, path: str) -> Any:
        """Ask for what the server says of itself; None where it has no such page.

        Raises:
            ModelError: It cannot be reached.
        """
        try:
            return self._json("GET", path, None, self._first_retry)
        except Refused:
            return None

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send JSON, and read the JSON that comes back.

        Raises:
            Refused: The server says no, or its answer is no JSON.
            ModelError: It cannot be reached, or goes on failing.
        """
        return self._json("POST", path, body, self._retry)

    def spread(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call a function for each item, several at a time; results come in the items' order.

        What has not begun when one fails is not begun any more, and what has is waited for: it is asked, and paid for.
        """
        futures = [self._workers.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def _json(self, verb: str, path: str, body: dict[str, Any] | None, retry: Retry) -> Any:
        where, key = f"server {self._url}", self._key()
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            answer = self._pool.request(
                verb, self._url + path, json=body, headers=headers, retries=retry, redirect=False
            )
        except exceptions.HTTPError as error:
            raise Unreachable(f"{where} does not answer: {_reason(error)}", hint=_hint(self._url)) from None
        if answer.status in STATUSES:
            message = f"{where} goes on failing: {answer.status} to {verb} {path}, {RETRIES} times"
            raise ModelError(message, hint="later, or fewer at once: --concurrency 1; what was answered is kept")
        text = _shown(answer.data, key)
        if not 200 <= answer.status < 300:
            message = f"{where} answers {answer.status} to {verb} {path}: {text}"
            raise Refused(message, answer.status, self._key_hint() if answer.status in NO_KEY else PROMPTS)
        try:
            return json.loads(answer.data)
        except (ValueError, RecursionError):
            message = f"{where} answers {verb} {path} with what is no JSON: {text}"
            raise Refused(message, answer.status, _hint(self._url)) from None

    def _key(self) -> str | None:
        if self._key_variable is None:
            return None
        key, name = os.environ.get(self._key_variable), self._key_variable
        if not key:
            message = f"the environment variable {name}, which holds the server's key, is not set"
            raise ModelError(message, hint=f"export {name}=..., or another one with --key-variable")
        if not (key.isascii() and key.isprintable() and " " not in key):
            message = f"the environment variable {name} holds blanks or letters that no key has"
            raise ModelError(message, hint=f"export {name}=..., the key alone")
        return key

    def _key_hint(self) -> str:
        if self._key_variable is None:
            return "--key-variable NAME: the environment variable that holds the server's key"
        return f"is the key in {self._key_variable} the server's, and may it use the model?"


PROMPTS = "where prompts are too long: fewer --shots, or --max-input-tokens cuts inputs; what was answered is kept"


def _shown(data: bytes, key: str | None) -> str:
    """Write what a server answers on a line, without a key that it repeats."""
    text = data.decode("utf-8", "replace")
    return foreign.line((text if key is None else text.replace(key, "***"))[:MAX_SHOWN])


def _reason(error: exceptions.HTTPError) -> str:
    """Say what went wrong in a few words; an error's own text is a paragraph of addresses and objects."""
    reason = error.reason if isinstance(error, exceptions.MaxRetryError) else error
    words = {
        exceptions.NameResolutionError: "no machine has this name",
        exceptions.NewConnectionError: "nothing listens there",
        exceptions.ConnectTimeoutError: f"no connection in {SECONDS_TO_CONNECT} seconds",
        exceptions.TimeoutError: f"nothing came in {SECONDS} seconds",
        exceptions.SSLError: "its certificate, or its TLS, is none that is trusted",
        exceptions.LocationValueError: "its address is none",
    }
    return next((text for kind, text in words.items() if isinstance(reason, kind)), "the connection broke")


def _hint(url: str) -> str:
    return f"is it running? `curl {url}/v1/models` should answer; what was answered already is kept"
