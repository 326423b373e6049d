"""``node0 change``: changes that wait for somebody, and what somebody said to them.

>>> sorted(change.commands)
['approve', 'list', 'propose', 'reject', 'show']
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node0lib.errors import ConfigError
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option, shown_progress
from node0lib.shell.clocks import SystemClock
from node0lib.shell.config import load

if TYPE_CHECKING:  # numpy and the rest take a moment to load; --help does not need them
    from node0lib.evidence.approval import Answer
    from node0lib.ports import Policy
    from node0lib.shell.approvals import Desk
    from node0lib.shell.settings import Settings

STATES = ("proposed", "waiting", "approved", "rejected", "running", "promoted", "rolled_back", "held", "superseded")
_by = click.option("--by", required=True, metavar="NAME", help="Who you are: a name or a mail address.")
_key = click.option(
    "--key",
    "own",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sign with your own Ed25519 key (PEM), which this installation must trust. Default: the installation's.",
)


@click.group()
def change() -> None:
    """Changes that wait for somebody: propose, look, approve, reject."""


@dataclass(frozen=True)
class Office:
    """What every verb needs: the configuration, the live policy, where answers are given, and the time."""

    settings: Settings
    live: Policy
    desk: Desk
    key_folder: Path
    now: datetime


@contextmanager
def _office(config: Path, *, writes: bool) -> Iterator[Office]:
    """Open the installation; whoever only looks at one that has no memory yet does not make it one."""
    from node0lib.shell.approvals import Desk
    from node0lib.shell.evidence_files import EvidenceFiles
    from node0lib.shell.keys import default_key_folder, public_keys, trusted
    from node0lib.shell.state import State
    from node0lib.shell.workspace import Places, live_policy

    settings = load(config)
    places, folder = Places.of(settings), default_key_folder()
    store = EvidenceFiles(places.evidence)
    with State(places.state if writes or places.state.exists() else Path(":memory:")) as state:
        desk = Desk(state, store, trusted(folder) or public_keys(store))
        yield Office(settings, live_policy(places, settings.initial_policy), desk, folder, SystemClock().now())


@change.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_option
@_by
@click.option("--reason", default="", help="Why this change; it is shown to whoever approves it.")
@output_option
def propose(file: Path, config: Path, by: str, reason: str, output: str) -> None:
    """Register a policy file as a change of the live policy.

    The candidate is measured against the live policy on fresh seeds, where the
    configuration has a target, and classified by the rules of slo.yaml. What
    nobody can measure is unsure, and therefore class H. Nothing is applied:
    a class that asks for an approval waits for one, any other can be tried at
    once; an approved change is what the next cycle tries.

    \b
    Exit codes:
      0  the change is registered
      2  the command line, the file or the configuration is wrong
      5  refused: the same change is open already
    """
    from node0lib.shell.approvals import named
    from node0lib.shell.changes import Origin, propose_change
    from node0lib.shell.cli.change_text import as_json, registered
    from node0lib.shell.workspace import read_policy

    with _office(config, writes=True) as office, shown_progress() as progress:
        candidate, origin, note = read_policy(file), Origin("person", named(by, "--by")), _line(reason)
        progress("measuring it against the live policy on fresh seeds", 0, 1)
        stored = propose_change(office.desk.state, office.settings, office.live, candidate, origin, office.now, note)
        told = as_json(office.desk, stored, office.live)
    if output == "json":
        echo_json(told)
    else:
        console().print(registered(stored), soft_wrap=True, markup=False)


@change.command("list")
@config_option
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    metavar="STATE",
    multiple=True,
    help=f"Only changes in this state; repeatable. One of {', '.join(STATES)}.",
)
@output_option
def list_(config: Path, states: tuple[str, ...], output: str) -> None:
    """List the changes, oldest first, each with its state.

    A change that starts from a policy which is no longer live is superseded,
    whatever was said to it before.

    Exit codes: 0 they are listed, 2 the command line or the configuration is
    wrong.
    """
    from node0lib.shell.changes import all_changes
    from node0lib.shell.cli.change_text import in_short, seen, table

    with _office(config, writes=False) as office:
        found = [c for c in all_changes(office.desk.state) if not states or seen(c, office.live)[0] in states]
    if output == "json":
        echo_json([in_short(c, office.live) for c in found])
    elif found:
        console().print(table(found, office.live))
    else:
        console().print("no changes" + (f" that are {' or '.join(states)}" if states else ""))


@change.command()
@click.argument("name", metavar="ID")
@config_option
@output_option
def show(name: str, config: Path, output: str) -> None:
    """Show a change: knobs, estimate, class, answers, history.

    ID may be the beginning of it. Every answer is verified: who gave it, when,
    for which digest, and whose key signed it. The installation's own key
    vouches for the record, not for the person; a person's own key does.

    Exit codes: 0 it is shown, 1 an answer to it does not verify, 2 there is no
    such change, or the command line or the configuration is wrong.
    """
    from node0lib.shell.changes import find_change
    from node0lib.shell.cli.change_text import as_json, show_change

    with _office(config, writes=False) as office:
        found = find_change(office.desk.state, name)
        if output == "json":
            echo_json(as_json(office.desk, found, office.live))
        else:
            show_change(console(), office.desk, found, office.live)


@change.command()
@click.argument("name", metavar="ID")
@config_option
@_by
@click.option("--digest", help="The candidate's SHA-256 that you looked at, 12 to 64 digits; another is refused.")
@click.option("--note", default="", help="What you want to have on record.")
@_key
@output_option
def approve(
    name: str, config: Path, by: str, digest: str | None, note: str, own: Path | None, output: str
) -> None:
    """Approve a change, as signed evidence; the next cycle tries it.

    The approval is for this candidate's SHA-256 and no other, as long as the
    live policy is the one that the change starts from. It does not apply
    anything by itself: the candidate is measured again and walks through the
    stages of its class. Nobody approves what he proposed.

    The record is signed with the installation's key, which vouches for the
    record only, not for --by. With --key it is signed with your own, which
    vouches for you; its public half (PEM) must first lie among this
    installation's trusted keys, as KEYID.pub.pem.

    \b
    Exit codes:
      0  approved
      1  the evidence does not verify or cannot be written
      2  no such change, or the command line or the configuration is wrong
      5  refused: another digest, already answered, superseded, proposed by
         you, or your key is not trusted
    """
    _answer("approve", name, config, by, note, own, digest, output)


@change.command()
@click.argument("name", metavar="ID")
@config_option
@_by
@click.option("--reason", required=True, help="Why not; it is part of the evidence.")
@_key
@output_option
def reject(name: str, config: Path, by: str, reason: str, own: Path | None, output: str) -> None:
    """Reject a change, as signed evidence; that is final.

    An approved change can be rejected until it is tried. Cycles do not bring
    the same candidate up again while the same policy is live; a person may.
    For whose key signs, see node0 change approve --help.

    \b
    Exit codes:
      0  rejected
      1  the evidence does not verify or cannot be written
      2  no such change, or the command line or the configuration is wrong
      5  refused: it has ended, or your key is not trusted
    """
    _answer("reject", name, config, by, reason, own, None, output)


def _answer(
    answer: Answer, name: str, config: Path, by: str, note: str, own: Path | None, digest: str | None, output: str
) -> None:
    from node0lib.shell.approvals import Desk, named, signing_key
    from node0lib.shell.changes import find_change
    from node0lib.shell.cli.change_text import answered, as_json
    from node0lib.shell.keys import trusted

    if digest is not None and not re.fullmatch("[0-9a-fA-F]{12,64}", digest):
        raise ConfigError(f"--digest: {digest!r} is no SHA-256; give 12 to 64 hexadecimal digits of it")
    who, said = named(by, "--by"), _line(note)
    with _office(config, writes=False) as office:
        found = find_change(office.desk.state, name)
        key = signing_key(office.key_folder, own)
        desk = Desk(office.desk.state, office.desk.store, trusted(office.key_folder))
        signed = desk.answer(
            found,
            answer,
            key,
            by=who,
            at=office.now,
            live=office.live,
            note=said,
            signer="person" if own is not None else "installation",
            digest=digest,
        )
        found = find_change(desk.state, found.id)
        if output == "json":
            echo_json(as_json(desk, found, office.live))
        else:
            console().print(answered(found, signed, office.settings.mode), soft_wrap=True, markup=False)


def _line(text: str) -> str:
    """What somebody wrote, as it can be signed; raises ConfigError for what is not text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        told = f"the note or reason is not text ({error.reason})"
        raise ConfigError(f"{told}; write it in your terminal's encoding") from error
    return text.strip()
