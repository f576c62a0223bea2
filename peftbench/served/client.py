"""Requests to one server: JSON in, JSON out, several at a time, again where that may help."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.spec.cell import Server

# urllib3's Retry comes with requests, which datasets brings: no package more. It waits as the server's Retry-After
# says, else 0.5, 1, 2, ... seconds.
RETRIES, BACKOFF, STATUSES = 6, 0.5, (429, 500, 502, 503, 504)
SECONDS = 600
"""So long a request may take: a first prompt of many thousand tokens on a CPU does."""
MAX_SHOWN = 200

Item = TypeVar("Item")
Result = TypeVar("Result")


class Refused(ModelError):
    """The server understood, and does not do what was asked; or it answers what is no answer.

    Args:
        status: Of HTTP; 200 where the answer was none.
    """

    def __init__(self, message: str, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Client:
    """One server.

    Args:
        server: Its address, how many requests run at once, and which environment variable holds its key. The key is
            read when a request is made, and goes into no message.

    Raises:
        ModelError: The variable is not set.
    """

    def __init__(self, server: Server) -> None:
        self._url, self._key_variable = server.url.rstrip("/"), server.key_variable
        self._workers = ThreadPoolExecutor(server.concurrency, thread_name_prefix="served")
        retry = Retry(
            total=RETRIES,
            backoff_factor=BACKOFF,
            status_forcelist=STATUSES,
            allowed_methods=None,  # asking twice changes nothing
            raise_on_status=False,
        )
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy, no .netrc: what is sent goes to the address that was typed
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=server.concurrency))
        self._headers()

    def get(self, path: str) -> Any:
        """Ask for what the server says of itself; None where it has no such page.

        Raises:
            ModelError: It cannot be reached.
        """
        try:
            return self._json("GET", path, None)
        except Refused:
            return None

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send JSON, and read the JSON that comes back.

        Raises:
            Refused: The server says no, or its answer is no JSON.
            ModelError: It cannot be reached, or goes on failing.
        """
        return self._json("POST", path, body)

    def spread(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call a function for each item, several at a time; results come in the items' order.

        What has not begun when one fails is not begun any more.
        """
        futures = [self._workers.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _json(self, verb: str, path: str, body: dict[str, Any] | None) -> Any:
        where = f"server {self._url}"
        try:
            answer = self._session.request(
                verb, self._url + path, json=body, headers=self._headers(), timeout=SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise ModelError(f"{where} does not answer: {_reason(error)}", hint=_hint(self._url)) from None
        if answer.status_code in STATUSES:
            message = f"{where} goes on failing: {answer.status_code} to {verb} {path}, {RETRIES} times"
            raise ModelError(message, hint="later, or fewer at once: --concurrency 1; what was answered is kept")
        if not answer.ok:
            text = foreign.line(answer.text[:MAX_SHOWN])
            raise Refused(f"{where} answers {answer.status_code} to {verb} {path}: {text}", answer.status_code)
        try:
            return answer.json()
        except ValueError:
            text = foreign.line(answer.text[:MAX_SHOWN])
            raise Refused(f"{where} answers {verb} {path} with what is no JSON: {text}", answer.status_code) from None

    def _headers(self) -> dict[str, str]:
        if self._key_variable is None:
            return {}
        key = os.environ.get(self._key_variable)
        if not key:
            message = f"the environment variable {self._key_variable}, which holds the server's key, is not set"
            raise ModelError(message, hint=f"export {self._key_variable}=..., or another one with --key-variable")
        return {"Authorization": f"Bearer {key}"}


def _reason(error: requests.RequestException) -> str:
    """Say what went wrong in a few words; an error's own text is a paragraph of addresses and objects."""
    if isinstance(error, requests.Timeout):
        return f"nothing came in {SECONDS} seconds"
    if "refused" in str(error):
        return "nothing listens there"
    return "the connection broke" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _hint(url: str) -> str:
    return f"is it running? `curl {url}/v1/models` should answer; what was answered already is kept"
