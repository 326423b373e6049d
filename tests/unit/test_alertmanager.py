"""Who hears of which alert: the routes as promised, and no secret can get into them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from node0lib.alerts.alertmanager import Routing, routes, yaml_of
from node0lib.errors import ConfigError
from node0lib.shell.cli.alert_routes import alertmanager
from node0lib.shell.cli.frame import Verbs

KEY = "f0e1d2c3b4a5968778695a4b3c2d1e0f"
GROUP = Verbs("node0", commands={"alertmanager": alertmanager})


def run(*options: str) -> Result:
    """Run the command as node0 does, with its errors as exit codes."""
    return CliRunner().invoke(GROUP, ["alertmanager", *options])


def made(*options: str) -> dict[str, Any]:
    """The configuration that the options make."""
    ran = run(*options)
    assert ran.exit_code == 0, ran.output
    return yaml.safe_load(ran.stdout)


def receivers(document: dict[str, Any]) -> dict[str, list[str]]:
    """Who is told what by which channels."""
    found = {one["name"]: sorted(key for key in one if key != "name") for one in document["receivers"]}
    return {name: [key.removesuffix("_configs") for key in keys] for name, keys in found.items()}


def test_each_severity_reaches_whom_it_should() -> None:
    """Critical goes to PagerDuty and Slack, warning to Slack, info by mail; what is unknown goes where warnings go."""
    document = made()
    assert receivers(document) == {"critical": ["pagerduty", "slack"], "warning": ["slack"], "info": ["email"]}
    assert {route["receiver"]: route["matchers"] for route in document["route"]["routes"]} == {
        name: [f'severity="{name}"'] for name in ("critical", "warning", "info")
    }
    assert document["route"]["receiver"] == "warning"


def test_lower_severities_of_the_same_slo_are_inhibited() -> None:
    """Critical silences warning and info, warning silences info, and only where both name the same SLO."""
    first, second = made()["inhibit_rules"]
    assert first["source_matchers"] == ['severity="critical"', 'slo!=""']
    assert first["target_matchers"] == ['severity=~"warning|info"', 'slo!=""']
    assert second["target_matchers"] == ['severity="info"', 'slo!=""']
    assert first["equal"] == second["equal"] == ["slo"]


def test_every_option_has_its_place() -> None:
    """Paths, channel, addresses, mail server, grouping and timing stand where Alertmanager reads them."""
    document = made(
        "--pagerduty-key-file", "/run/pd", "--slack-url-file", "C:\\keys\\slack", "--slack-channel", "#pager",
        "--mail-to", "a@localhost", "--mail-to", "b@localhost", "--mail-from", "c@localhost", "--smarthost", "mail:587",
        "--mail-user", "node0", "--mail-password-file", "./smtp", "--group-by", "slo", "--group-by", "team",
        "--group-wait", "10s", "--group-interval", "1m", "--repeat", "1d",
    )  # fmt: skip
    critical, _, info = document["receivers"]
    assert critical["pagerduty_configs"][0]["routing_key_file"] == "/run/pd"
    assert critical["slack_configs"][0]["api_url_file"] == "C:\\keys\\slack"
    assert critical["slack_configs"][0]["channel"] == "#pager"
    assert info["email_configs"][0]["to"] == "a@localhost, b@localhost"
    assert document["global"] == {
        "smtp_smarthost": "mail:587",
        "smtp_from": "c@localhost",
        "smtp_auth_username": "node0",
        "smtp_auth_password_file": "./smtp",
    }
    timing = {name: document["route"][name] for name in ("group_by", "group_wait", "group_interval", "repeat_interval")}
    assert timing == {
        "group_by": ["slo", "team"], "group_wait": "10s", "group_interval": "1m", "repeat_interval": "1d"
    }  # fmt: skip


def test_sloths_labels_are_known() -> None:
    """Alerts of Sloth's rules say page and ticket, and name their SLO by two labels."""
    document = made("--dialect", "sloth")
    assert document["route"]["routes"][0]["matchers"] == ['sloth_severity="page"']
    assert document["route"]["group_by"] == document["inhibit_rules"][0]["equal"] == ["sloth_service", "sloth_slo"]


@pytest.mark.parametrize(
    ("options", "config"),
    [
        (("--webhook-url", "http://127.0.0.1:8080/hook"), {"url": "http://127.0.0.1:8080/hook"}),
        (("--webhook-url-file", "/run/hook"), {"url_file": "/run/hook"}),
    ],
)
def test_a_webhook_is_one_channel_more(options: tuple[str, ...], config: dict[str, str]) -> None:
    """A hook of one's own is told of the severities that name it, by an address or by a file that holds one."""
    document = made("--critical", "pagerduty,webhook", "--info", "webhook", *options)
    assert receivers(document) == {"critical": ["pagerduty", "webhook"], "warning": ["slack"], "info": ["webhook"]}
    assert document["receivers"][0]["webhook_configs"] == [{**config, "send_resolved": True}]
    assert "global" not in document, "nobody is told by mail"


@pytest.mark.parametrize("option", ["--pagerduty-key-file", "--slack-url-file", "--mail-password-file"])
@pytest.mark.parametrize("secret", [KEY, f"https://127.0.0.1/{KEY}", f"aB3/{KEY}", f"/x://{KEY}", f"/a\n{KEY}"])
def test_no_secret_can_be_given_in_place_of_its_file(option: str, secret: str) -> None:
    """A key, an address or a password where a path belongs is refused, and not repeated."""
    ran = run(option, secret)
    assert ran.exit_code == 2 and option in ran.stderr and "is not repeated" in ran.stderr
    assert KEY not in ran.output


@pytest.mark.parametrize(
    "url",
    [f"https://u:{KEY}@h/x", f"https://h/x?token={KEY}", f"https://h/x#{KEY}", f"ftp://h/{KEY}", KEY, f"http://[{KEY}"],
)
def test_a_webhook_in_the_open_holds_no_credentials(url: str) -> None:
    """An address with a user, a query or a fragment is refused, and not repeated."""
    ran = run("--critical", "webhook", "--webhook-url", url)
    assert ran.exit_code == 2 and "--webhook-url" in ran.stderr and KEY not in ran.output


def test_only_file_keys_hold_secrets() -> None:
    """Whatever the options are, none of Alertmanager's own keys for an inline secret is ever written."""
    text = yaml_of(Routing(mail_user="node0"))
    inline = ("routing_key:", "service_key:", "api_url:", "password:", "credentials:", "bearer_token:", "url:")
    assert not [key for key in inline if key in text]
    assert len([one for one in fields(Routing) if one.name.endswith("_file")]) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--critical", "phone"), "--critical: 'phone' is no channel"),
        (("--info", ","), "nobody is told of info alerts"),
        (("--critical", "webhook"), "either --webhook-url or --webhook-url-file"),
        (("--webhook-url", "http://127.0.0.1/"), "a severity that uses it"),
        (("--critical", "webhook", "--webhook-url", "http://h/", "--webhook-url-file", "/f"), "either --webhook-url"),
        (("--repeat", "soon"), "--repeat: 'soon' is not a duration"),
        (("--smarthost", "localhost"), "smarthost must be host:port"),
        (("--mail-to", "me"), "--mail-to and --mail-from must be plain addresses"),
        (("--slack-channel", "# a"), "--slack-channel must be a channel"),
        (("--group-by", "a-b"), "--group-by: 'a-b' is no label"),
    ],
)
def test_a_wrong_option_is_one_clear_error(options: tuple[str, ...], told: str) -> None:
    """Each mistake ends with exit code 2 and says which option is wrong."""
    ran = run(*options)
    assert ran.exit_code == 2 and told in ran.stderr and ran.stdout == ""


def test_json_lists_the_files_that_must_be_there() -> None:
    """With JSON a program learns the configuration and which files must hold a secret."""
    document = json.loads(run("--output", "json").stdout)
    assert document["configuration"] == routes(Routing())
    assert sorted(document["secret_files"]) == ["pagerduty", "slack"] and document["written"] is None


def test_out_is_written_whole(tmp_path: Path) -> None:
    """With --out the file holds what would have been printed, and stdout stays empty."""
    path = tmp_path / "a" / "alertmanager.yml"
    ran = run("--out", str(path))
    assert ran.exit_code == 0 and ran.stdout == ""
    assert path.read_text("utf-8") == run().stdout


def test_a_dialect_nobody_speaks_is_refused() -> None:
    """In Python too a routing that is wrong cannot be made."""
    with pytest.raises(ConfigError, match="no dialect"):
        Routing(dialect="klingon")


def test_the_help_tells_of_every_option() -> None:
    """Defaults are shown, and the version that a hook in a file needs."""
    text = run("--help").stdout
    assert all(option.opts[0] in text for option in alertmanager.params if isinstance(option, click.Option))
    assert "0.26" in text and "pagerduty,slack" in text
