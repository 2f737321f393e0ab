"""The key that signs checkpoints and bundles: made once, kept at 0600, never replaced silently.

`load_or_create_signer` is for the start of a TRE; a process that finds a key file it cannot trust (readable by others,
damaged) stops with the reason (P5). Signatures on checkpoints are C2SP signed notes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tre_orchestrator.errors import Unavailable
from tre_orchestrator.ledger.tre_verify import Key

KEY_FILE = "ledger.pem"


class Signer:
    """Signs for one ledger. `name` is the ledger's origin: unique, because it is taken from the key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.key_id = hashlib.sha256(self.public_raw).hexdigest()
        self.name = f"tre-ledger/{self.key_id[:16]}"
        self.key = Key(self.public_raw, self.name)

    @property
    def verifier_key(self) -> str:
        """The public key as a C2SP `name+hash+key` line, which also pins the ledger's name."""
        blob = bytes([self.key.algorithm]) + self.public_raw
        return f"{self.name}+{self.key.note_hash(self.name).hex()}+{base64.b64encode(blob).decode()}"

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) over `message`."""
        return self._private.sign(message)

    def note(self, body: str) -> str:
        """`body` (which ends in a newline) as a signed note."""
        blob = self.key.note_hash(self.name) + self.sign(body.encode())
        return f"{body}\n\u2014 {self.name} {base64.b64encode(blob).decode()}\n"


def load_or_create_signer(keys_dir: Path) -> Signer:
    """The signer of this TRE; makes its key when there is none. Two processes that race end with the same key."""
    path = keys_dir / KEY_FILE
    if not path.exists():
        _create(path)
    return load_signer(keys_dir)


def load_signer(keys_dir: Path) -> Signer:
    """The signer of this TRE. Raises `Unavailable` when its key is missing, damaged or readable by others."""
    path = keys_dir / KEY_FILE
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read()
    except OSError as error:
        raise Unavailable(
            "signing-key", f"The signing key {path} cannot be read ({error.strerror}). Restore it from your backup."
        ) from error
    if mode & 0o077:
        raise Unavailable("signing-key", f"The signing key {path} is open to other users. Run: chmod 600 {path}")
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise Unavailable("signing-key", f"The signing key {path} is damaged. Restore it from your backup.")
    return Signer(private)


def _create(path: Path) -> None:
    """Write a new key beside its place and link it there: it appears whole, or not at all, and never replaces one."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink()
