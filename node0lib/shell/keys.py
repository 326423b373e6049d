"""The runner's Ed25519 key: it lies outside the workspace and signs only in the runner's process.

Rules
- Folder: $NODE0_KEY_DIR, else the user's data folder (``platformdirs``). Never the workspace: a notebook that may
  write there must not be able to replace the key. On POSIX the folder is 0700 and the key 0600, and a key that
  others can read is refused rather than used.
- PKCS#8 PEM, encrypted if there is a passphrase: $NODE0_KEY_PASSPHRASE, or the first line of the file that
  $NODE0_KEY_PASSPHRASE_FILE names.
- Public keys lie beside it (``<keyid>.pub.pem``): they are what this installation trusts, and reading them needs
  no passphrase. After a rotation the old ones stay, so that old evidence goes on to verify.
- No message and no repr contains key material or the passphrase.
- ``KEY_VARIABLES`` must be taken out of the environment of everything that the runner starts.

>>> import tempfile
>>> key = load_or_create(Path(tempfile.mkdtemp()) / "keys", {})
>>> len(key.keyid), len(key.sign(b"hello"))
(64, 64)
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import filelock
import platformdirs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from node0lib.errors import EvidenceError, RunError
from node0lib.evidence.dsse import PublicKey, key_id, parse_public_pem, public_keys, public_pem
from node0lib.shell.files import write_atomic

__all__ = ["KEY_VARIABLES", "SigningKey", "default_key_folder", "load_or_create", "public_keys", "read_key", "trusted"]

KEY_VARIABLES = ("NODE0_KEY_DIR", "NODE0_KEY_PASSPHRASE", "NODE0_KEY_PASSPHRASE_FILE")
"""The environment variables that a notebook's kernel must not see."""

_FILE = "runner.pem"
_LOCK_SECONDS = 30.0
_LONGEST = 1023  # bytes; OpenSSL takes no longer passphrase


class SigningKey:
    """A ``dsse.Signer``. It can sign and show its public half; it cannot be printed, copied or pickled."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: PublicKey = private.public_key()
        self.public_pem = public_pem(self.public)
        self.keyid = key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of ``message``, 64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(keyid={self.keyid[:12]}...)"

    def __reduce__(self) -> str:
        raise TypeError("a SigningKey does not leave its process")


def default_key_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return $NODE0_KEY_DIR or else ``keys`` in the user's data folder of node0."""
    if named := environ.get("NODE0_KEY_DIR"):
        return Path(named).expanduser()
    return Path(platformdirs.user_data_dir("node0", appauthor=False)) / "keys"


def load_or_create(folder: Path, environ: Mapping[str, str] = os.environ) -> SigningKey:
    """Return the key in ``folder``, made on first use; of several processes at once all get the same one.

    Raises RunError if the key cannot be read or written, is malformed, others can read it, or the passphrase is
    missing, superfluous or wrong.
    """
    passphrase = _passphrase(environ)
    path = folder / _FILE
    if not _there(path):
        _create(path, passphrase)
    key = SigningKey(_load(path, passphrase))
    public = folder / f"{key.keyid}.pub.pem"
    if not public.exists():
        write_atomic(public, key.public_pem)
    return key


def read_key(path: Path, environ: Mapping[str, str] = os.environ) -> SigningKey:
    """Return somebody's own key from a file; raises RunError as ``load_or_create`` does."""
    return SigningKey(_load(path, _passphrase(environ)))


def trusted(folder: Path) -> dict[str, PublicKey]:
    """Return the public keys in ``folder`` (key id -> key), {} if there are none.

    Raises RunError if one cannot be read, is malformed or is not named by its key id.
    """
    found: dict[str, PublicKey] = {}
    for path in sorted(folder.glob("*.pub.pem")):
        try:
            key = parse_public_pem(path.read_bytes(), str(path))
        except (OSError, EvidenceError) as error:
            raise RunError(f"{path}: is not a public key of node0; restore it or remove it") from error
        if path.name != f"{key_id(key)}.pub.pem":
            raise RunError(f"{path}: is not named by its key id {key_id(key)}; remove it, or trust it by renaming")
        found[key_id(key)] = key
    return found


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise RunError(f"{path}: cannot be reached ({error.strerror}); check the folder's owner") from error


def _create(path: Path, passphrase: bytes | None) -> None:
    """Write a new key unless another process was faster; it is never readable by others, not for a moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            path.parent.chmod(0o700)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=_LOCK_SECONDS):
            if not path.exists():
                write_atomic(path, _private_pem(Ed25519PrivateKey.generate(), passphrase), mode=0o600)
    except (OSError, filelock.Timeout) as error:
        raise RunError(f"{path}: the signing key cannot be made ({error}); check the folder") from error


def _private_pem(key: Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _load(path: Path, passphrase: bytes | None) -> Ed25519PrivateKey:
    """Read and decrypt. ``from None``: what lies beneath might quote what was read."""
    content = _private_bytes(path)
    try:
        key = load_pem_private_key(content, passphrase)
    except TypeError:
        raise RunError(f"{path}: {_mismatch(passphrase)}") from None
    except (ValueError, UnsupportedAlgorithm):
        why = "is not a private key" if passphrase is None else "the passphrase is wrong or the file is damaged"
        raise RunError(f"{path}: {why}; correct it, or move the file away to begin with a new key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise RunError(f"{path}: is not an Ed25519 key; move the file away to begin with a new key")
    return key


def _mismatch(passphrase: bytes | None) -> str:
    if passphrase is None:
        return "the key is encrypted; set NODE0_KEY_PASSPHRASE or NODE0_KEY_PASSPHRASE_FILE"
    return "the key is not encrypted although a passphrase is set; unset it, or move the file away"


def _private_bytes(path: Path) -> bytes:
    """Return a secret file's bytes; raises RunError if it cannot be read or others can read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            raise RunError(f"{path}: others can read or change it (mode {mode:04o}); run chmod 600 on it")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); check its name and owner") from error


def _passphrase(environ: Mapping[str, str]) -> bytes | None:
    """Return the passphrase of the environment, None if there is none (an empty variable is none)."""
    given, file = environ.get("NODE0_KEY_PASSPHRASE"), environ.get("NODE0_KEY_PASSPHRASE_FILE")
    if given and file:
        raise RunError("NODE0_KEY_PASSPHRASE and NODE0_KEY_PASSPHRASE_FILE are both set; unset one of them")
    if file:
        lines = _private_bytes(Path(file).expanduser()).splitlines()
        passphrase = lines[0] if lines else b""
    else:
        passphrase = os.fsencode(given) if given else b""
    if file and not passphrase:
        raise RunError(f"{file}: has no passphrase in its first line; write it there")
    if len(passphrase) > _LONGEST:
        raise RunError(f"the passphrase is longer than {_LONGEST} bytes; choose a shorter one")
    return passphrase or None
