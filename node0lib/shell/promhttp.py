"""The HTTP API of a Prometheus-compatible server: asked patiently, read strictly, never for long.

Rules:

* One attempt takes at most ``timeout``, whatever the server does (name resolution and dripping bytes included), so
  one request takes at most ``attempts * timeout`` and the back-off between; a body is at most 64 MB.
* Connection errors, timeouts, cut answers, 429 and 500, 502, 503, 504 are tried again, with exponential back-off and
  jitter. Retry-After is honoured; a server that asks for more patience than ``timeout`` is given up at once.
* A server that was found down is not asked again: every later request fails at once and says so.
* Redirects are refused: they would carry the credentials elsewhere.
* No message holds a secret, not even when the server repeats one.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (format of requests and answers).

>>> ReadError("HTTP 503", again=True, after=2.0).after
2.0
"""

from __future__ import annotations

import contextlib
import json
import queue
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

import httpx
import tenacity

from node0lib.errors import DataError, RunError
from node0lib.shell.promendpoint import Endpoint, credentials, verified_client

LONGEST_URL = 4_000
LARGEST_BODY = 64 * 2**20
_ENOUGH = 3
"""Reads in a row that failed on the server's side in spite of all attempts: then it counts as down."""
_TRY_AGAIN = {429, 500, 502, 503, 504}
_BACK_OFF = tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0.0, 0.2)


class ReadError(DataError):
    """A read that failed. ``again``: worth another attempt, after ``after`` seconds; ``down``: nobody there.

    ``large``: the answer was too long, so asking for less may help.
    """

    def __init__(
        self, text: str, *, again: bool = False, down: bool = False, after: float = 0.0, large: bool = False
    ) -> None:
        super().__init__(text)
        self.again, self.down, self.after, self.large = again, down, after, large


@dataclass(frozen=True)
class Reply:
    """One HTTP answer, read to its end and decompressed."""

    status: int
    headers: httpx.Headers
    body: bytes


class Transport:
    """GET (POST when the URL would grow past 4,000 characters) with the rules above. Close it after use."""

    def __init__(self, endpoint: Endpoint, client: httpx.Client | None = None) -> None:
        """Read the credentials and make the client; raises ConfigError. A given ``client`` stays the caller's."""
        self.endpoint = endpoint
        self._auth, self._secrets = credentials(endpoint)
        self._owned = client is None
        self._client = client or verified_client(endpoint)
        self._down: str | None = None
        self._failing = 0

    def close(self) -> None:
        """Close the connections, unless the client was given."""
        if self._owned:
            self._client.close()

    def fetch(self, path: str, params: Mapping[str, str]) -> Reply:
        """Return the answer with status 2xx; raises ReadError saying what failed and what to do."""
        if self._down is not None:
            raise ReadError(f"not asked: the server was found down earlier ({self._down})", down=True)
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.endpoint.attempts),
            wait=_pause,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ReadError) and error.again),
            reraise=True,
        )
        try:
            reply = attempts(self._attempt, path, params)
            self._failing = 0
            return reply
        except ReadError as error:
            self._give_up(error, attempts.statistics["attempt_number"])

    def _give_up(self, error: ReadError, tried: int) -> NoReturn:
        text = f"{error} ({tried} attempts)" if tried > 1 else str(error)
        self._failing += error.again
        if error.down or self._failing >= _ENOUGH:
            self._down = text
        raise ReadError(text, down=error.down, large=error.large) from None

    def _attempt(self, path: str, params: Mapping[str, str]) -> Reply:
        if self._client.is_closed:
            raise RunError("the Prometheus source is closed; make a new one")
        request = self._request(path, params)
        answer = self._within_timeout(request)
        if isinstance(answer, ReadError):
            raise answer
        return self._accepted(answer)

    def _request(self, path: str, params: Mapping[str, str]) -> httpx.Request:
        url = f"{self.endpoint.url.rstrip('/')}/api/v1/{path}"
        seconds = self.endpoint.timeout.total_seconds()
        request = self._client.build_request("GET", url, params=dict(params), timeout=seconds)
        if len(str(request.url)) > LONGEST_URL:
            request = self._client.build_request("POST", url, data=dict(params), timeout=seconds)
        return request

    def _within_timeout(self, request: httpx.Request) -> Reply | ReadError:
        """Exchange in a thread that is left behind when time is up.

        httpx bounds each read, not the whole: a server that sends a byte now and then, or a resolver that hangs,
        would hold the caller for ever. The thread is a daemon, so it cannot hold the process either.
        """
        seconds = self.endpoint.timeout.total_seconds()
        box: queue.SimpleQueue[Reply | ReadError] = queue.SimpleQueue()
        deadline = time.monotonic() + seconds
        threading.Thread(target=lambda: box.put(self._exchange(request, deadline)), daemon=True).start()
        try:
            return box.get(timeout=seconds)
        except queue.Empty:
            return self._timed_out()

    def _exchange(self, request: httpx.Request, deadline: float) -> Reply | ReadError:
        """Send and read to the end; every failure comes back as a value, for the thread that waits."""
        auth = self._auth or httpx.USE_CLIENT_DEFAULT
        try:
            response = self._client.send(request, auth=auth, stream=True, follow_redirects=False)
            with contextlib.closing(response):
                return Reply(response.status_code, response.headers, _body(response, deadline))
        except (httpx.TimeoutException, TimeoutError):
            return self._timed_out()
        except httpx.ConnectError as error:
            return self._unreachable(error)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return ReadError(f"{self.endpoint.address}: the answer broke off ({self.clean(str(error))})", again=True)
        except ReadError as error:
            return error

    def _timed_out(self) -> ReadError:
        seconds = self.endpoint.timeout.total_seconds()
        return ReadError(f"{self.endpoint.address}: no answer within {seconds:g} s", again=True, down=True)

    def _unreachable(self, error: httpx.ConnectError) -> ReadError:
        address, why = self.endpoint.address, self.clean(str(error))
        if _untrusted(error):
            return ReadError(f"{address}: TLS verification failed ({why}); set ca_file to the authority", down=True)
        return ReadError(f"{address}: cannot connect ({why}); is it running?", again=True, down=True)

    def _accepted(self, reply: Reply) -> Reply:
        """Return a 2xx reply; raises ReadError for every other status."""
        status, where = reply.status, self.endpoint.address
        if 200 <= status < 300:
            return reply
        if status in {401, 403}:  # The body is not shown: some servers repeat what they were sent.
            raise ReadError(f"{where}: HTTP {status}, not authorised; credentials used: {self.endpoint.variables}")
        if 300 <= status < 400:
            raise ReadError(f"{where}: HTTP {status}, a redirect, which is refused; set url to the final address")
        text = f"{where}: HTTP {status}" + self._said(reply)
        if status not in _TRY_AGAIN:
            raise ReadError(text)
        after = _retry_after(reply.headers)
        if after > self.endpoint.timeout.total_seconds():
            raise ReadError(f"{text}; it asks to come back in {after:.0f} s, longer than the timeout")
        raise ReadError(text, again=True, after=after)

    def _said(self, reply: Reply) -> str:
        """What the server says about its error; the page of a proxy is not shown."""
        kind = reply.headers.get("content-type", "")
        plain = "html" not in kind and reply.body.strip()
        hint = "; is there an API under this url?" if reply.status in {404, 405} else ""
        return (f": {self.clean(_error_text(reply.body))}" if plain else "") + hint

    def clean(self, text: str) -> str:
        """One printable line of at most 300 characters without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        line = "".join(c for c in " ".join(text.split()) if c.isprintable())
        return line if len(line) <= 300 else line[:299] + "…"


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds to wait: the back-off, or what the server asked for if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    return max(_BACK_OFF(state), error.after if isinstance(error, ReadError) else 0.0)


def _body(response: httpx.Response, deadline: float) -> bytes:
    """Read and decompress the body; raises TimeoutError past the deadline, ReadError past 64 MB."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise ReadError(f"the answer is larger than {LARGEST_BODY // 2**20} MB; aggregate the query", large=True)
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def _untrusted(error: BaseException | None) -> bool:
    """Whether a failed verification of the certificate is among the causes."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds that the header asks for, given as a number or as an HTTP date; 0 without one."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _error_text(body: bytes) -> str:
    """The error of Prometheus's JSON with its type, or else the body as text."""
    try:
        document = json.loads(body)
        return f"{document['errorType']}: {document['error']}"
    except (ValueError, RecursionError, KeyError, TypeError):
        return body[:1000].decode("utf-8", "replace")
