"""``node0 demo``: real traffic to try a canary on, on this machine.

The JSON documents; ``folder`` and ``target`` are paths:

====== ===============================================================================================================
up     ``started`` (false: it was up), then as status, without ``problem``
status ``state`` (up, degraded, down), ``simulated`` (what is not real), ``folder target url prometheus rate``,
       ``processes``: a list of ``name pid port running``; ``weights`` by arm; ``arms`` by name: ``requests errors``
       (per second, over the last 10 s), ``p95_s``; null is not known, ``problem`` says why
fault  ``kind``, ``done`` (what was done, in words)
down   ``folder``, ``ended``: a list of ``name pid``
====== ===============================================================================================================

>>> sorted(demo.commands)
['down', 'fault', 'status', 'up']
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node0lib.errors import DataError, RunError
from node0lib.shell.cli.frame import echo_json, output_option, shown_progress, stoppable
from node0lib.shell.demo.layout import ARMS, FAULTS, Arm
from node0lib.shell.demo.loopback import url

if TYPE_CHECKING:
    from node0lib.ports import Policy
    from node0lib.shell.demo.stack import Stack

SIMULATED = "the traffic is real, what the service depends on is simulated"
CODES: Mapping[str, int] = {"up": 0, "down": 3, "degraded": 4}
"""How ``status`` ends the program."""
_POLICY = Path("configs/alpha.policy.json")

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/demo"),
    show_default=True,
    help="Where the demo keeps its files.",
)


@click.group()
def demo() -> None:
    """A small real service behind HAProxy, to try canaries on."""


@demo.command()
@folder_option
@click.option(
    "--rate",
    type=click.FloatRange(1, 500),
    default=100,
    show_default=True,
    help="Requests a second that the clients send.",
)
@click.option(
    "--policy",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The policy that both arms start with.  [default: {_POLICY}, or node0's own where there is none]",
)
@output_option
def up(folder: Path, rate: float, policy: Path | None, output: str) -> None:
    """Start the demo on free ports of this machine.

    Two instances of a small HTTP service (stable, canary), each governed by
    its own policy file; HAProxy in front, all traffic on stable; Prometheus
    scraping once a second; clients that send requests whether or not earlier
    ones were answered, at most 64 at a time. All of it listens on 127.0.0.1
    and runs until node0 demo down. FOLDER/target.yaml is what node0 canary
    run --target takes.

    If it is up already, what does not run is started again, the policy files
    stay as they are. If something does not start, all that did is ended.

    \b
    Exit codes:
      0  it is up
      1  something did not start; what did for it is ended again
      2  haproxy or prometheus is missing, or the policy is wrong
      5  it is up at another rate
    """
    from node0lib.shell.demo.stack import up as bring_up

    with stoppable(), shown_progress() as progress:
        stack, started = bring_up(folder, rate=rate, policy=_policy(policy), progress=progress)
    document = {"started": started, **_standing(stack)}
    if output == "json":
        echo_json(document)
        return
    click.echo("The demo is up." if started else "The demo was up already; nothing was changed.")
    click.echo(_addresses(document))


@demo.command()
@folder_option
@output_option
@click.pass_context
def status(ctx: click.Context, folder: Path, output: str) -> None:
    """Show what runs, the weights, and the rates of the last 10 seconds.

    \b
    Exit codes:
      0  everything runs
      1  the demo's record cannot be read
      3  no demo is up
      4  a process has ended
    """
    from node0lib.shell.demo.stack import standing

    stack = standing(folder)
    document = {"state": "down", "folder": str(folder)} if stack is None else _measured(stack)
    if output == "json":
        echo_json(document)
    else:
        click.echo(f"{folder}: no demo is up there; run node0 demo up" if stack is None else _status_text(document))
    ctx.exit(CODES[str(document["state"])])


@demo.command()
@click.argument("kind", metavar="KIND", type=click.Choice(FAULTS))
@folder_option
@click.option("--arm", type=click.Choice(ARMS), default="canary", show_default=True, help="The arm to degrade.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    help="errors, broken-stable, p95, p99: the share of requests.  [default: 0.1, 0.3, 0.2, 0.02]",
)
@click.option("--delay", metavar="DURATION", help="p95, p99: how much longer they take.  [default: 200ms, 1s]")
@click.option("--restart", is_flag=True, help="crash: the process comes back at once, with an empty cache.")
@output_option
def fault(
    kind: str, folder: Path, arm: Arm, share: float | None, delay: str | None, restart: bool, output: str
) -> None:
    """Degrade the running demo, or end that.

    \b
    errors         a share of the requests fails (503)
    p95            a share of the requests takes longer
    p99            a small share of the requests takes much longer
    crash          the process is killed; HAProxy repeats on the other arm
    silence        the arm answers no scrape; its traffic goes on
    telemetry      Prometheus is stopped
    broken-stable  errors, on the stable arm
    leave          HAProxy sends the arm nothing new, whatever its weight
    clear          ends every fault and starts what does not run

    A fault of an arm replaces the one before.

    \b
    Exit codes:
      0  it was done
      1  a process does not answer
      2  the command line is wrong
      5  no demo is up, or the arm does not run
    """
    from node0lib.shell.demo.faults import inject
    from node0lib.timespan import parse_duration

    delay_s = None if delay is None else parse_duration(delay).total_seconds()
    with stoppable():
        done = inject(folder, kind, arm, share=share, delay_s=delay_s, restart=restart)
    if output == "json":
        echo_json({"kind": kind, "done": done})
    else:
        click.echo(done)


@demo.command()
@folder_option
@output_option
def down(folder: Path, output: str) -> None:
    """End the processes that node0 demo up started, and no others.

    Logs, policies and configurations stay in the folder.

    \b
    Exit codes:
      0  nothing of it runs
      1  a process cannot be ended, or the demo's record cannot be read
    """
    from node0lib.shell.demo.stack import down as take_down

    ended = [{"name": process.name, "pid": process.pid} for process in take_down(folder)]
    if output == "json":
        echo_json({"folder": str(folder), "ended": ended})
    else:
        told = ", ".join(f"{each['name']} (process {each['pid']})" for each in ended)
        click.echo(f"ended: {told}" if ended else "no demo was up; nothing was ended")


def _policy(path: Path | None) -> Policy:
    """Read the policy to start with; raises ConfigError."""
    from node0lib.optimize.knobs import POLICY_EXAMPLE
    from node0lib.shell.demo.service import read_policy

    if path is None and not _POLICY.exists():
        return POLICY_EXAMPLE
    return read_policy(path or _POLICY)


def _standing(stack: Stack) -> dict[str, Any]:
    running = stack.running()
    listed = [
        {"name": each.name, "pid": each.pid, "port": each.port, "running": each.name in running}
        for each in stack.processes
    ]
    return {
        "state": "up" if len(running) == len(stack.planned()) else "degraded" if running else "down",
        "simulated": SIMULATED,
        "folder": str(stack.folder),
        "target": str(stack.target),
        "url": url(stack.ports.front, "/items/1"),
        "prometheus": url(stack.ports.prometheus),
        "rate": stack.rate,
        "processes": listed,
    }


def _measured(stack: Stack) -> dict[str, Any]:
    """Return all that status says; what cannot be asked is null, and ``problem`` says why."""
    from dataclasses import asdict

    from node0lib.shell.demo.telemetry import rates, weights

    document = {**_standing(stack), "weights": None, "arms": None, "problem": None}
    try:
        document["weights"] = dict(weights(stack.ports))
        document["arms"] = {arm: asdict(rates(stack.ports, arm)) for arm in ARMS}
    except (RunError, DataError) as error:
        document["problem"] = str(error)
    return document


def _addresses(document: Mapping[str, Any]) -> str:
    rows = {"traffic": "url", "Prometheus": "prometheus", "target": "target"}
    lines = [f"{label:<12}{document[key]}" for label, key in rows.items()]
    return "\n".join([*lines, f"{document['rate']:g} requests/s; {document['simulated']}."])


def _status_text(document: Mapping[str, Any]) -> str:
    lines = [f"The demo is {document['state']}.", _addresses(document), ""]
    for each in document["processes"]:
        state = f"process {each['pid']}, port {each['port']}" if each["running"] else "HAS ENDED"
        lines.append(f"{each['name']:<12}{state}")
    lines.append("")
    for arm in ARMS:
        weight = (document["weights"] or {}).get(arm)
        found = (document["arms"] or {}).get(arm) or {}
        numbers = [_number(weight, "g", ""), *(_number(found.get(key), ".1f", "/s") for key in ("requests", "errors"))]
        p95 = found.get("p95_s")
        numbers.append(_number(None if p95 is None else p95 * 1000, ".0f", " ms"))
        labels = ("weight", "requests", "errors", "p95")
        lines.append(f"{arm:<12}" + ", ".join(f"{label} {text}" for label, text in zip(labels, numbers, strict=True)))
    return "\n".join([*lines, *([f"not known: {document['problem']}"] if document["problem"] else [])])


def _number(value: float | None, form: str, unit: str) -> str:
    return "?" if value is None else f"{value:{form}}{unit}"
