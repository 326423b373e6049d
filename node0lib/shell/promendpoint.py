"""Where a Prometheus-compatible server is and how to be let in; validated before anything is sent.

Credentials come from the environment and appear in no message and no ``repr``; a url that holds some is refused.
TLS is always verified, against the system's authorities or those of ``ca_file``.

>>> Endpoint("http://127.0.0.1:9090/prefix/").address
'http://127.0.0.1:9090'
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from node0lib.errors import ConfigError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Endpoint:
    """Where a Prometheus-compatible API is, and how long to wait; raises ConfigError if it cannot be one.

    ``url`` is the server's address without ``/api/v1``. ``timeout`` bounds one attempt, ``max_points`` the points asked
    for in one request (Prometheus answers at most 11,000). The ``*_env`` fields are names of environment variables:
    either a token, or a user name and a password. ``ca_file`` replaces the system's certificate authorities.
    ``scrape_interval`` is the longest distance between samples that still counts as observed.
    """

    url: str
    timeout: timedelta = timedelta(seconds=10)
    attempts: int = 4
    username_env: str | None = None
    password_env: str | None = None
    token_env: str | None = None
    ca_file: Path | None = None
    max_points: int = 11_000
    scrape_interval: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        self._check_url()
        if self.timeout <= timedelta(0) or self.scrape_interval < timedelta(milliseconds=1):
            raise ConfigError("timeout and scrape_interval of a Prometheus endpoint must be longer than 0")
        if self.attempts < 1 or not 1 <= self.max_points <= 11_000:
            raise ConfigError("attempts must be at least 1 and max_points in 1..11000, the server's own limit")
        if (self.username_env is None) != (self.password_env is None):
            raise ConfigError("username_env and password_env belong together; give both or neither")
        if self.token_env and self.username_env:
            raise ConfigError("give token_env or username_env with password_env, not both")

    def _check_url(self) -> None:
        """Refuse what is no plain http(s) address, without repeating it: it may hold a password."""
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, ValueError):
            raise ConfigError("the url is malformed; write for example http://127.0.0.1:9090") from None
        if url.userinfo or "@" in self.url:
            raise ConfigError(
                "the url holds credentials; put them into environment variables and name these in username_env and "
                "password_env, or in token_env"
            )
        if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
            raise ConfigError("the url must be http(s)://host:port[/prefix]; for example http://127.0.0.1:9090")

    @property
    def address(self) -> str:
        """scheme://host:port, the part that is safe to print."""
        url = httpx.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode('ascii')}"

    @property
    def variables(self) -> str:
        """The names of the environment variables that hold credentials, for messages."""
        names = [n for n in (self.username_env, self.password_env, self.token_env) if n]
        return " and ".join(names) or "none; set token_env, or username_env and password_env"


class _Bearer(httpx.Auth):
    """Bearer authentication; its repr says nothing."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._value
        yield request


def credentials(endpoint: Endpoint) -> tuple[httpx.Auth | None, tuple[str, ...]]:
    """Return the authentication and the texts that no message may hold; raises ConfigError naming a variable."""
    if endpoint.token_env:
        token = _variable(endpoint.token_env)
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ConfigError(f"the token in {endpoint.token_env} has characters that no header can carry")
        return _Bearer(token), (token,)
    if endpoint.username_env and endpoint.password_env:
        username, password = _variable(endpoint.username_env), _variable(endpoint.password_env)
        if ":" in username:
            raise ConfigError(
                f"the user name in {endpoint.username_env} has a colon, which basic authentication forbids"
            )
        encoded = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        return httpx.BasicAuth(username, password), (encoded, password)
    return None, ()


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"the environment variable {name} is not set or empty; it holds the Prometheus credentials")
    return value


def verified_client(endpoint: Endpoint) -> httpx.Client:
    """A client that verifies TLS; a proxy of the environment is not asked for this machine's own addresses."""
    verify: ssl.SSLContext | bool = True
    if endpoint.ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=endpoint.ca_file)
        except (OSError, ssl.SSLError) as error:
            why = f"cannot be read as certificates ({error}); ca_file must be a PEM file"
            raise ConfigError(f"{endpoint.ca_file}: {why}") from error
    return httpx.Client(verify=verify, trust_env=httpx.URL(endpoint.url).host not in _LOOPBACK)
