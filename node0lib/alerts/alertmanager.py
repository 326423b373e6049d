"""Who hears of which alert: an Alertmanager configuration, as plain values and as YAML.

Promises
- No secret is in it, nor can be: keys, addresses with tokens and passwords are read by Alertmanager from files, and a
  value given for such a file that is no path is refused without being repeated.
- The graver severity inhibits the milder ones of the same SLO, and of nothing else: an alert without the label ``slo``
  neither inhibits nor is inhibited. (Labels that both lack count as equal in Alertmanager.)
- An alert without a known severity is not lost: it goes where warnings go.

Keys that are used: ``routing_key_file`` and ``smtp_auth_password_file`` are known since Alertmanager 0.25, ``url_file``
of a webhook since 0.26. Source: Alertmanager, configuration.

>>> document = routes(Routing())
>>> [(route["matchers"], route["receiver"]) for route in document["route"]["routes"]]
[(['severity="critical"'], 'critical'), (['severity="warning"'], 'warning'), (['severity="info"'], 'info')]
>>> [sorted(receiver) for receiver in document["receivers"]]
[['name', 'pagerduty_configs', 'slack_configs'], ['name', 'slack_configs'], ['email_configs', 'name']]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from node0lib.errors import ConfigError
from node0lib.slo.catalogue import Severity
from node0lib.timespan import format_duration

Channel = Literal["pagerduty", "slack", "email", "webhook"]
CHANNELS: tuple[Channel, ...] = ("pagerduty", "slack", "email", "webhook")
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
USUAL: Mapping[Severity, tuple[Channel, ...]] = {
    "critical": ("pagerduty", "slack"),
    "warning": ("slack",),
    "info": ("email",),
}
_SECRETS = "/etc/alertmanager/secrets"
_FILE = re.compile(r"(?:[A-Za-z]:[\\/]|\\\\|/|\.{1,2}[\\/])[^\0\r\n]+")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_MAIL = re.compile(r"[^\s@,<>\"]+@[^\s@,<>\"]+")
_SLACK = re.compile(r"[#@]?[^\s#@]{1,80}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LOOPBACK = ("localhost", "127.", "[::1]")


@dataclass(frozen=True)
class Dialect:
    """How rules label their alerts: the label of the severity, its values, and the labels that name the SLO."""

    severity: str
    values: Mapping[Severity, str]
    slo: tuple[str, ...]


DIALECTS: Mapping[str, Dialect] = {
    "node0": Dialect("severity", {name: name for name in SEVERITIES}, ("slo",)),
    "sloth": Dialect(
        "sloth_severity", {"critical": "page", "warning": "ticket", "info": "info"}, ("sloth_service", "sloth_slo")
    ),
}


@dataclass(frozen=True)
class Routing:
    """What the configuration says. Fields that end in ``_file`` are paths that Alertmanager can read.

    ``channels`` maps each severity to who is told; ``mail_user`` None means a mail server that asks for no password.
    ``webhook_url`` stands in the configuration as it is: for addresses that are no secret. ``group_by`` () is the
    dialect's name of the SLO. Raises ConfigError, which never repeats what may be a secret.
    """

    channels: Mapping[Severity, tuple[Channel, ...]] = field(default_factory=lambda: USUAL)
    pagerduty_key_file: str = f"{_SECRETS}/pagerduty_routing_key"
    slack_url_file: str = f"{_SECRETS}/slack_webhook_url"
    slack_channel: str = "#slo-alerts"
    mail_to: tuple[str, ...] = ("root@localhost",)
    mail_from: str = "node0@localhost"
    smarthost: str = "localhost:25"
    mail_user: str | None = None
    mail_password_file: str = f"{_SECRETS}/smtp_password"
    webhook_url: str | None = None
    webhook_url_file: str | None = None
    group_by: tuple[str, ...] = ()
    group_wait: timedelta = timedelta(seconds=30)
    group_interval: timedelta = timedelta(minutes=5)
    repeat: timedelta = timedelta(hours=4)
    dialect: str = "node0"

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name.endswith("_file"):
                _check_file(one.name, getattr(self, one.name))
        self._check_mail()
        self._check_webhook()
        if not _SLACK.fullmatch(self.slack_channel):
            raise ConfigError("slack_channel must be a channel such as #slo-alerts")
        if self.dialect not in DIALECTS:
            raise ConfigError(f"{self.dialect!r} is no dialect; known are {', '.join(DIALECTS)}")
        if wrong := [label for label in self.group_by if not _LABEL.fullmatch(label)]:
            raise ConfigError(f"group_by: {wrong[0]!r} is no label; write for example slo")
        if empty := [severity for severity in SEVERITIES if not self.channels.get(severity)]:
            raise ConfigError(f"nobody is told of {empty[0]} alerts; name a channel: {', '.join(CHANNELS)}")

    def _check_mail(self) -> None:
        if not self.mail_to or not all(_MAIL.fullmatch(one) for one in (*self.mail_to, self.mail_from)):
            raise ConfigError("mail_to and mail_from must be plain addresses such as root@localhost")
        if not _HOST.fullmatch(self.smarthost):
            raise ConfigError("smarthost must be host:port, such as localhost:25; user and password go elsewhere")

    def _check_webhook(self) -> None:
        used = any("webhook" in channels for channels in self.channels.values())
        given = [one for one in (self.webhook_url, self.webhook_url_file) if one is not None]
        if len(given) > 1 or (used and not given) or (given and not used):
            needs = "either webhook_url or webhook_url_file, and a severity that uses it"
            raise ConfigError(f"the channel webhook needs an address, {needs}")
        if self.webhook_url is not None:
            _check_url(self.webhook_url)

    @property
    def labels(self) -> Dialect:
        """How the alerts are labelled."""
        return DIALECTS[self.dialect]

    @property
    def used(self) -> tuple[Channel, ...]:
        """The channels that any severity uses."""
        return tuple(one for one in CHANNELS if any(one in channels for channels in self.channels.values()))

    @property
    def secret_files(self) -> Mapping[Channel, str]:
        """The files that must be there for each channel that is used; none for a channel without a secret."""
        mail = self.mail_password_file if self.mail_user is not None else None
        of: dict[Channel, str | None] = {
            "pagerduty": self.pagerduty_key_file,
            "slack": self.slack_url_file,
            "email": mail,
            "webhook": self.webhook_url_file,
        }
        return {channel: path for channel in self.used if (path := of[channel]) is not None}


def _check_file(name: str, value: str | None) -> None:
    """A key or an address is no path: it does not begin like one."""
    if value is not None and (not _FILE.fullmatch(value) or "://" in value):
        text = f"{name} must be the path of a file that Alertmanager reads, absolute or beginning with ./"
        raise ConfigError(f"{text}; what was given is not repeated, it may be the secret itself")


def _check_url(url: str) -> None:
    """An address in the open: nothing in it that could be a credential."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or port == 0:
        raise ConfigError(
            "webhook_url must be http(s)://host:port/path without user, password, query or fragment: it stands in the "
            "configuration for everybody to read; put an address with a token into a file (webhook_url_file)"
        )


def routes(routing: Routing) -> dict[str, Any]:
    """Return the configuration as plain values, in Alertmanager's own order."""
    labels = routing.labels
    timing = {
        "group_by": list(routing.group_by or labels.slo),
        "group_wait": format_duration(routing.group_wait),
        "group_interval": format_duration(routing.group_interval),
        "repeat_interval": format_duration(routing.repeat),
    }
    children = [
        {"matchers": [f'{labels.severity}="{labels.values[name]}"'], "receiver": name} for name in SEVERITIES
    ]
    document: dict[str, Any] = {"global": _mail(routing)} if "email" in routing.used else {}
    document["route"] = {"receiver": "warning", **timing, "routes": children}
    document["inhibit_rules"] = [_inhibition(labels, n) for n in range(len(SEVERITIES) - 1)]
    document["receivers"] = [_receiver(routing, severity) for severity in SEVERITIES]
    return document


def _mail(routing: Routing) -> dict[str, Any]:
    found: dict[str, Any] = {"smtp_smarthost": routing.smarthost, "smtp_from": routing.mail_from}
    if routing.mail_user is not None:
        found |= {"smtp_auth_username": routing.mail_user, "smtp_auth_password_file": routing.mail_password_file}
    elif routing.smarthost.startswith(_LOOPBACK):
        found["smtp_require_tls"] = False  # this machine's own mail server, which need not have a certificate
    return found


def _inhibition(labels: Dialect, grave: int) -> dict[str, Any]:
    """While an alert of one severity fires, those below it of the same SLO are not sent."""
    named = [f'{label}!=""' for label in labels.slo]
    source = labels.values[SEVERITIES[grave]]
    below = [labels.values[severity] for severity in SEVERITIES[grave + 1 :]]
    how = "=" if len(below) == 1 else "=~"
    return {
        "source_matchers": [f'{labels.severity}="{source}"', *named],
        "target_matchers": [f'{labels.severity}{how}"{"|".join(below)}"', *named],
        "equal": list(labels.slo),
    }


def _receiver(routing: Routing, severity: Severity) -> dict[str, Any]:
    found: dict[str, Any] = {"name": severity}
    for channel in routing.channels[severity]:
        found[f"{channel}_configs"] = _configs(routing, severity, channel)
    return found


def _configs(routing: Routing, severity: Severity, channel: Channel) -> list[dict[str, Any]]:
    if channel == "pagerduty":
        return [{"routing_key_file": routing.pagerduty_key_file, "severity": severity, "description": _TITLE}]
    if channel == "slack":
        told = {"title": f"[{severity}] {_TITLE}", "text": _TEXT, "send_resolved": True}
        return [{"api_url_file": routing.slack_url_file, "channel": routing.slack_channel, **told}]
    if channel == "email":
        subject = {"Subject": f"[{severity}] {_TITLE}"}
        return [{"to": ", ".join(routing.mail_to), "headers": subject, "send_resolved": True}]
    where = {"url": routing.webhook_url} if routing.webhook_url else {"url_file": routing.webhook_url_file}
    return [{**where, "send_resolved": True}]


_NAMES = "{{ range .GroupLabels.SortedPairs }} {{ .Value }}{{ end }}"
_TITLE = "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}" + _NAMES
_TEXT = '{{ range .Alerts }}{{ .Annotations.summary }}{{ "\\n" }}{{ .Annotations.description }}{{ "\\n" }}{{ end }}'


def yaml_of(routing: Routing, title: str = "") -> str:
    """Return the configuration as YAML below a comment: ``title``, and the files that hold secrets."""
    files = [f"{path} ({channel})" for channel, path in routing.secret_files.items()]
    lines = [*title.splitlines(), *([f"Secrets are read from {', '.join(files)}."] if files else [])]
    comment = "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return comment + yaml.safe_dump(routes(routing), sort_keys=False, width=1 << 20, allow_unicode=True)
