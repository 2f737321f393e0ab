"""The key that a verification is made with: the file that was given, else this machine's own TRE's."""

from __future__ import annotations

from pathlib import Path

from tre_orchestrator.errors import Invalid, Unavailable
from tre_orchestrator.ledger.keys import load_signer
from tre_orchestrator.ledger.tre_verify import Key, NotVerified, read_key
from tre_orchestrator.settings import load_settings


def public_key(file: Path | None, state: Path | None) -> Key:
    """The public key in `file`, without a look at any state folder; without `file`, that of the TRE in `state`.

    Raises `Invalid` asking for --key when there is none that this account may read.
    """
    if file is not None:
        try:
            return read_key(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid("unreadable", f"The key file cannot be read: {error}. Name another with --key.") from error
        except NotVerified as error:
            raise Invalid("not-a-key", f"{file}: {error} Get it from the TRE's page 'Verify a bundle'.") from error
    try:
        return load_signer(load_settings(state).keys_dir).key
    except (Unavailable, Invalid) as error:
        raise Invalid(
            "no-key",
            "No TRE whose key you may read lies here. Give the public key of the TRE with --key: get the file, or its "
            "fingerprint, by a way that does not depend on what you verify.",
        ) from error
