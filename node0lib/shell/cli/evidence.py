"""``node0 evidence``: what was sealed, and whether it holds.

>>> sorted(evidence.commands)
['verify']
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import click

from node0lib.errors import ConfigError, EvidenceError
from node0lib.evidence.dsse import PublicKey, key_id, parse_public_pem
from node0lib.evidence.verify import ChainReport, chain_of, verify_chain
from node0lib.shell.cli.frame import config_option, console, echo_json, output_option
from node0lib.shell.config import load
from node0lib.shell.evidence_files import EvidenceFiles
from node0lib.shell.keys import default_key_folder, public_keys, trusted
from node0lib.shell.order import quiet
from node0lib.shell.outputs import Outputs, check_outputs
from node0lib.shell.workspace import Places, live_bytes


@click.group()
def evidence() -> None:
    """Check what was sealed."""


@evidence.command()
@config_option
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), help="The folder of a rehearsal (node0 replay)."
)
@click.option(
    "--key",
    "key_files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A public key (PEM) that you trust; repeatable. Default: this user's own.",
)
@click.option("--anchor", help="A provenance digest that you wrote down, or its beginning; it must be in the chain.")
@output_option
def verify(config: Path, into: Path | None, key_files: tuple[Path, ...], anchor: str | None, output: str) -> None:
    """Verify digests, signatures and the chain PoI -> provenance -> live policy.

    Executed notebooks, results and reports that are still there must have the
    digests that were sealed.

    Exit codes: 0 everything holds, 1 something does not (every problem is
    listed), 2 the command line or the configuration is wrong.
    """
    if anchor is not None and not re.fullmatch("[0-9a-f]{12,64}", anchor):
        raise ConfigError(f"--anchor: {anchor!r} is no digest; give at least its first 12 hexadecimal digits")
    settings = load(config)
    places = Places.of(settings) if into is None else Places.of(settings).under(into.resolve())
    store = EvidenceFiles(places.evidence)
    keys, origin = _keys(store, key_files)
    try:
        report, outputs = _verified(places, store, keys, anchor)
    except EvidenceError:
        # A cycle that is just sealing looks like tampering for a moment: look again when it is over.
        with quiet(places):
            report, outputs = _verified(places, store, keys, anchor)
    if output == "json":
        told = {**asdict(report), "newest_policy": dict(report.newest_policy), "outputs": asdict(outputs)}
        echo_json({"verified": True, "trust": origin, **told})
        return
    out = console()
    out.print(f"verified: {report.records} sealed records, the newest of cycle {report.newest_cycle}")
    out.print(f"live policy {report.policy_sha256[:12]} is the subject of provenance")
    out.print(report.newest_provenance, soft_wrap=True)
    out.print(f"signatures checked with {origin}")
    out.print(f"{outputs.matching} notebooks, results and reports are as sealed, {outputs.missing} no longer there")
    if report.unsealed:
        out.print(f"note: cycle {report.unsealed} was interrupted before its seal; the next cycle accounts for it")


def _verified(
    places: Places, store: EvidenceFiles, keys: dict[str, PublicKey], anchor: str | None
) -> tuple[ChainReport, Outputs]:
    chain = chain_of(store, keys)
    whole = next((r.digest for r in chain if anchor and r.digest.startswith(anchor)), anchor)
    report = verify_chain(store, keys, live_policy=live_bytes(places) or None, anchor=whole)
    return report, check_outputs(places, chain)


def _keys(store: EvidenceFiles, files: tuple[Path, ...]) -> tuple[dict[str, PublicKey], str]:
    """The keys to trust: those given, else this user's, else those that the evidence itself names."""
    if files:
        given = [parse_public_pem(_read(path), str(path)) for path in files]
        return {key_id(key): key for key in given}, f"{len(files)} given key(s)"
    own = trusted(default_key_folder())
    if own:
        return own, "this user's own key"
    return public_keys(store), "the key in the evidence itself (nobody vouches for it: pass --key)"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{path}: the public key cannot be read ({error.strerror or error})") from error
