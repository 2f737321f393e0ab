from __future__ import annotations

import datetime as dt
import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tre_orchestrator.catalogue.names import PersonId
from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.governance.identity import LIFE, Identity, identity, sign_identity, verify_identity
from tre_orchestrator.governance.secrets import ALL, create_all_secrets, required_secret, secret

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
KEY = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_p5_a_secret_is_made_once_random_and_for_its_owner_only(keys: Path) -> None:
    first = secret(keys, "inner.key")
    assert len(first) == 32
    assert secret(keys, "inner.key") == first == required_secret(keys, "inner.key")
    assert secret(keys, "store.key") != first
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert sorted(path.name for path in keys.iterdir()) == ["inner.key", "store.key"]


def test_p5_all_secrets_are_made_and_all_differ(keys: Path) -> None:
    create_all_secrets(keys)
    assert len({required_secret(keys, name) for name in ALL}) == len(ALL)


def _make(keys: str) -> bytes:
    return secret(Path(keys), "inner.key")


def test_p5_processes_that_start_together_get_the_same_secret(keys: Path) -> None:
    with ProcessPoolExecutor(8, mp_context=get_context("fork")) as pool:
        assert len(set(pool.map(_make, [str(keys)] * 32))) == 1
    assert [path.name for path in keys.iterdir()] == ["inner.key"]


def test_p5_a_missing_secret_stops_with_what_to_do(keys: Path) -> None:
    with pytest.raises(Unavailable, match="is missing"):
        required_secret(keys, "inner.key")
    secret(keys, "other.key")
    with pytest.raises(Unavailable, match="Restore it from your backup"):
        required_secret(keys, "inner.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_p5_a_secret_others_can_read_is_refused(keys: Path, mode: int) -> None:
    secret(keys, "inner.key")
    (keys / "inner.key").chmod(mode)
    with pytest.raises(Unavailable, match="chmod 600"):
        required_secret(keys, "inner.key")
    with pytest.raises(Unavailable):
        secret(keys, "inner.key")


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777])
def test_p5_a_folder_others_can_reach_is_refused(keys: Path, mode: int) -> None:
    secret(keys, "inner.key")
    keys.chmod(mode)
    with pytest.raises(Unavailable, match="chmod 700"):
        secret(keys, "inner.key")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_p5_a_damaged_secret_is_refused_not_replaced(keys: Path, content: bytes) -> None:
    secret(keys, "inner.key")
    (keys / "inner.key").write_bytes(content)
    with pytest.raises(Unavailable, match="damaged"):
        secret(keys, "inner.key")
    assert (keys / "inner.key").read_bytes() == content


def test_p5_a_link_in_the_place_of_a_secret_is_not_followed(keys: Path, tmp_path: Path) -> None:
    secret(keys, "real.key")
    (tmp_path / "planted").write_bytes(b"x" * 32)
    (keys / "inner.key").symlink_to(tmp_path / "planted")
    with pytest.raises(Unavailable):
        secret(keys, "inner.key")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give the file to somebody else")
def test_p5_a_secret_of_another_account_is_refused(keys: Path) -> None:
    secret(keys, "inner.key")
    os.chown(keys / "inner.key", 12345, 12345)
    with pytest.raises(Unavailable, match="account that owns the folder"):
        secret(keys, "inner.key")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder of somebody else's")
def test_a_secret_root_makes_in_the_services_folder_belongs_to_the_service(keys: Path) -> None:
    keys.mkdir(mode=0o700)
    os.chown(keys, 12345, 12345)
    secret(keys, "inner.key")
    assert (keys / "inner.key").stat().st_uid == 12345


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "UPPER", "x" * 70])
def test_a_secrets_name_cannot_leave_the_folder(keys: Path, name: str) -> None:
    with pytest.raises(ValueError):
        secret(keys, name)


def who(**changes: object) -> Identity:
    made = identity(PersonId("ana-silva"), "s1", "c1", mfa=False, via="session", now=NOW)
    return Identity(**{**{name: getattr(made, name) for name in Identity.__dataclass_fields__}, **changes})


def test_an_identity_is_believed_for_thirty_seconds(now: dt.datetime) -> None:
    header = sign_identity(KEY, who())
    assert header.isascii()
    assert verify_identity(KEY, header, NOW) == who()
    assert verify_identity(KEY, header, NOW + LIFE - dt.timedelta(seconds=1)) == who()
    with pytest.raises(Refused):
        verify_identity(KEY, header, NOW + LIFE)


def test_an_identity_that_claims_a_longer_life_is_refused() -> None:
    header = sign_identity(KEY, who(expires=NOW + dt.timedelta(minutes=5)))
    with pytest.raises(Refused):
        verify_identity(KEY, header, NOW)


def test_an_identity_of_another_key_or_person_is_refused() -> None:
    header = sign_identity(KEY, who())
    other = sign_identity(KEY, who(person=PersonId("erin-walsh")))
    for forged in (
        sign_identity(bytes(32), who()),
        other.split(".")[0] + "." + header.split(".")[1],
        header[:-1],
        header + "0",
        header.upper(),
        "",
        ".",
        "é.é",
    ):
        with pytest.raises(Refused):
            verify_identity(KEY, forged, NOW)


@given(st.binary(max_size=80), st.text(max_size=80))
def test_no_header_crashes_the_check(body: bytes, mac: str) -> None:
    for header in (body.decode("latin-1") + "." + mac, mac):
        with pytest.raises(Refused):
            verify_identity(KEY, header, NOW)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError):
        sign_identity(b"short", who())
