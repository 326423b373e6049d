"""The runner's key: made once, kept secret, refused when it is not."""

import copy
import os
import pickle
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node0lib.errors import RunError
from node0lib.evidence.dsse import IN_TOTO, seal, unseal
from node0lib.shell.keys import KEY_VARIABLES, default_key_folder, load_or_create, trusted

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions; Windows has access control lists")
SECRET = "correct horse battery staple"
LOCKED = {"NODE0_KEY_PASSPHRASE": SECRET}


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """The second call returns the same key, and what it signs verifies with the trusted public key."""
    first, second = load_or_create(tmp_path / "keys", {}), load_or_create(tmp_path / "keys", {})
    assert first.keyid == second.keyid
    assert list(trusted(tmp_path / "keys")) == [first.keyid]
    assert unseal(seal(b"x", IN_TOTO, first), trusted(tmp_path / "keys"), exact=True) == b"x"


@posix
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """The folder is 0700 and the private key 0600."""
    load_or_create(tmp_path / "keys", {})
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "runner.pem").stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """A private key with permissions for others is not used; the message says what to run."""
    load_or_create(tmp_path, {})
    (tmp_path / "runner.pem").chmod(mode)
    with pytest.raises(RunError, match=r"runner.pem: others can .*chmod 600"):
        load_or_create(tmp_path, {})


def test_the_passphrase_encrypts(tmp_path: Path) -> None:
    """With a passphrase the file is encrypted PKCS#8, and the same passphrase opens it again."""
    key = load_or_create(tmp_path, LOCKED)
    assert (tmp_path / "runner.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load_or_create(tmp_path, LOCKED).keyid == key.keyid


def test_the_passphrase_comes_from_a_file(tmp_path: Path) -> None:
    """The first line of the named file is the passphrase, the same as in the variable."""
    file = tmp_path / "passphrase"
    file.write_text(SECRET + "\n", encoding="utf-8")
    file.chmod(0o600)
    key = load_or_create(tmp_path / "keys", {"NODE0_KEY_PASSPHRASE_FILE": str(file)})
    assert load_or_create(tmp_path / "keys", LOCKED).keyid == key.keyid


@pytest.mark.parametrize(
    ("made_with", "opened_with", "what"),
    [
        (LOCKED, {"NODE0_KEY_PASSPHRASE": "hunter2-hunter2"}, "the passphrase is wrong or the file is damaged"),
        (LOCKED, {}, "the key is encrypted; set NODE0_KEY_PASSPHRASE"),
        ({}, LOCKED, "the key is not encrypted although a passphrase is set"),
        ({}, {"NODE0_KEY_PASSPHRASE": "x" * 2000}, "longer than 1023 bytes"),
        ({}, {**LOCKED, "NODE0_KEY_PASSPHRASE_FILE": "x"}, "both set"),
        ({}, {"NODE0_KEY_PASSPHRASE_FILE": "/nowhere/at/all"}, "cannot be read"),
    ],
)
def test_a_wrong_passphrase_is_one_clear_error(
    tmp_path: Path, made_with: dict[str, str], opened_with: dict[str, str], what: str
) -> None:
    """Every mismatch of key and passphrase is a RunError that says what to do and shows neither."""
    load_or_create(tmp_path, made_with)
    content = (tmp_path / "runner.pem").read_text("utf-8").splitlines()[1]
    with pytest.raises(RunError, match=what) as caught:
        load_or_create(tmp_path, opened_with)
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert not any(s in shown for s in (SECRET, "hunter2", "xxxx", content))


def _elliptic() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "not a private key"), (b"\x00garbage", "not a private key"), (_elliptic(), "not an Ed25519 key")],
)
def test_a_garbled_key_is_refused_and_kept(tmp_path: Path, content: bytes, what: str) -> None:
    """A file that is not the key is an error, and is never overwritten with a new key."""
    path = tmp_path / "runner.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(RunError, match=what):
        load_or_create(tmp_path, {})
    assert path.read_bytes() == content


def test_the_key_cannot_be_shown_or_carried_away(tmp_path: Path) -> None:
    """Neither repr nor pickle nor copy gives the private key."""
    key = load_or_create(tmp_path, {})
    assert repr(key) == f"SigningKey(keyid={key.keyid[:12]}...)"
    for leave in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="does not leave its process"):
            leave(key)


def test_several_processes_get_one_key(tmp_path: Path) -> None:
    """Processes that ask for a key at the same time all get the same one."""
    code = "import sys, pathlib; from node0lib.shell.keys import load_or_create\n"
    code += "print(load_or_create(pathlib.Path(sys.argv[1]), {}).keyid)"
    command = [sys.executable, "-c", code, str(tmp_path / "keys")]
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(subprocess.run, command, capture_output=True, text=True) for _ in range(3)]
    answers = {run.result().stdout.strip() for run in runs}
    assert len(answers) == 1 and len(answers.pop()) == 64


def test_several_threads_get_one_key(tmp_path: Path) -> None:
    """Many callers at the same moment, all before the key exists, get the same one."""
    with ThreadPoolExecutor(16) as pool:
        keys = pool.map(lambda _: load_or_create(tmp_path / "keys", {}).keyid, range(16))
        assert len(set(keys)) == 1


def test_old_public_keys_stay_trusted(tmp_path: Path) -> None:
    """After a rotation both the old and the new key are trusted."""
    old = load_or_create(tmp_path, {})
    (tmp_path / "runner.pem").unlink()
    new = load_or_create(tmp_path, {})
    assert set(trusted(tmp_path)) == {old.keyid, new.keyid} and old.keyid != new.keyid


def test_a_public_key_under_a_false_name_is_refused(tmp_path: Path) -> None:
    """A trusted key must be named by its key id and be a key."""
    key = load_or_create(tmp_path, {})
    path = tmp_path / f"{key.keyid}.pub.pem"
    path.rename(tmp_path / "x.pub.pem")
    with pytest.raises(RunError, match="not named by its key id"):
        trusted(tmp_path)
    (tmp_path / "x.pub.pem").write_bytes(b"")
    with pytest.raises(RunError, match="not a public key"):
        trusted(tmp_path)
    assert trusted(tmp_path / "absent") == {}


def test_the_folder_lies_outside_the_workspace(tmp_path: Path) -> None:
    """The variable names the folder, else it is in the user's data folder; all variables are known to strip."""
    assert default_key_folder({"NODE0_KEY_DIR": str(tmp_path)}) == tmp_path
    default = default_key_folder({})
    assert default.name == "keys" and "node0" in default.parts and not default.is_relative_to(Path.cwd())
    assert all(name.startswith("NODE0_KEY_") for name in KEY_VARIABLES) and len(KEY_VARIABLES) == 3


def test_a_folder_that_cannot_be_made_is_a_run_error(tmp_path: Path) -> None:
    """Where a file is in the folder's place, the error names the key's path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"runner.pem: "):
        load_or_create(tmp_path / "file" / "keys", {})
