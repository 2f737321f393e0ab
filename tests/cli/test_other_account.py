"""`tre` as somebody else than the account that the TRE runs as: a token and an address do, the rest is a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.governance.api import TOKEN, Api, serving
from tests.ledger.conftest import fill
from tre_orchestrator.ledger.checkpoints import make_checkpoint
from tre_orchestrator.ledger.database import Base, Database
from tre_orchestrator.ledger.keys import load_or_create_signer

NOBODY = 65534
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def closed(state_dir: Path, now) -> Path:  # type: ignore[no-untyped-def]
    """A state folder with a ledger, closed to everybody else; closed to us too where we cannot become somebody else."""
    (state_dir / "settings.yaml").write_text("listen_port: 1\n")
    db = Database(f"sqlite:///{state_dir / 'tre.sqlite'}")
    Base.metadata.create_all(db.engine)
    fill(db, 2)
    with db.write() as session:
        make_checkpoint(session, load_or_create_signer(state_dir / "keys"), now)
    db.dispose()
    state_dir.chmod(0o700 if os.geteuid() == 0 else 0o000)
    return state_dir


@pytest.fixture
def somebody(tmp_path_factory: pytest.TempPathFactory, closed: Path) -> Iterator[Run]:
    """Runs `tre` as another account, in that account's own folder, signed in."""
    home = Path("/tmp") / f"tre-somebody-{os.getpid()}"
    (home / "tre").mkdir(parents=True)
    (home / "tre" / "token").write_text(TOKEN + "\n")
    mine = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if mine:
        for path in (home, home / "tre", home / "tre" / "token"):
            os.chown(path, NOBODY, NOBODY)

    def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_CONFIG_HOME": str(home), "TRE_STATE_DIR": str(closed)}
        return subprocess.run(
            [sys.executable, "-m", "tre_orchestrator.cli", *map(str, words)],
            cwd=home,
            env=env | environment,
            capture_output=True,
            text=True,
            timeout=60,
            **mine,  # type: ignore[arg-type]
        )

    yield run
    for path in (home / "tre" / "token", *home.glob("*.txt")):
        path.unlink(missing_ok=True)
    (home / "tre").rmdir()
    home.rmdir()
    closed.chmod(0o700)


@pytest.fixture
def api() -> Iterator[Api]:
    def answer(_method: str, path: str, _body: object) -> object:
        if path.startswith("/api/projects/heart/decision"):
            return {
                "allowed": True,
                "until": "2027",
                "ends_because": "x",
                "refusals": [],
                "digest": "ab",
                "controls": "cd",
            }
        return {"full_name": "Ana Silva", "id": "g1", "link": "x", "created": [], "changed": [], "unchanged": []}

    with serving(answer) as served:
        yield served


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a command that failed as it should: one line, exit code 1, nothing else."""
    assert (done.returncode, done.stdout) == (1, ""), done
    said = done.stderr.strip()  # a progress bar that was cleared away leaves an empty line
    assert said.startswith("tre: ")
    assert "\n" not in said
    return said


COMMANDS = [
    ["whoami"],
    ["decide", "heart"],
    ["approve", "heart", "--digest", "ab", "--controls", "cd"],
    ["refuse", "heart", "--digest", "ab", "--controls", "cd", "--reason", "x"],
    ["grant", "lungs", "1.0", "heart", "--digest", "ab", "--organisation", "o", "--until", "2027-01-01"],
    ["revoke", "g", "--reason", "x"],
    ["copies", "h", "delete"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_commands_with_a_token_need_the_address_only(somebody: Run, api: Api, words: list[str]) -> None:
    done = somebody(*words, "--url", f"http://127.0.0.1:{api.port}")
    assert (done.returncode, done.stderr) == (0, "")
    assert api.tokens == {f"Bearer {TOKEN}"}


def test_the_address_may_stand_in_the_environment(somebody: Run, api: Api) -> None:
    done = somebody("whoami", TRE_URL=f"http://tre.localhost:{api.port}/")
    assert (done.returncode, done.stdout) == (0, "Ana Silva\n"), done


def test_every_command_of_the_api_takes_an_address(somebody: Run) -> None:
    requests = [["request", name] for name in ("list", "show", "draft", "submit", "withdraw", "download")]
    for words in (["login"], ["apply"], ["person", "invite"], *requests):
        assert "--url" in somebody(*words, "--help", TERM="dumb", COLUMNS="200").stdout


@pytest.mark.parametrize(
    "url",
    [
        "ftp://tre.example",
        "tre.example",
        "http://",
        "http://tre.example",
        "http://127.0.0.1:x",
        "https://a@b.example",
        "https://b.example/x",
    ],
)
def test_a_token_goes_to_no_other_kind_of_address(somebody: Run, url: str) -> None:
    assert "[url]" in told(somebody("whoami", "--url", url))


def test_what_is_not_a_tre_is_said(somebody: Run, api: Api) -> None:
    api.answer = lambda *_: (_ for _ in ()).throw(ConnectionResetError)
    assert "Nothing answers at" in told(somebody("whoami", "--url", f"http://127.0.0.1:{api.port}"))
    assert "Nothing answers at" in told(somebody("whoami", "--url", "http://127.0.0.1:1"))


@pytest.mark.parametrize("url", ["https://a b", "https://tr\u20ac.example", f"https://{'a' * 80}.example"])
def test_an_address_that_cannot_be_reached_is_said(somebody: Run, url: str) -> None:
    assert "no-answer" in told(somebody("whoami", "--url", url))


@pytest.mark.parametrize("token", ["x", "tre_", "tre_\u20ac", "tre_a\nb"])
def test_what_is_no_token_is_not_sent(somebody: Run, api: Api, token: str) -> None:
    url = f"http://127.0.0.1:{api.port}"
    assert "not-a-token" in told(somebody("login", "--token", token, "--url", url))
    kept = Path(f"/tmp/tre-somebody-{os.getpid()}") / "tre" / "token"
    kept.write_bytes(token.encode("utf-16") if token == "tre_" else token.encode())
    assert "not-signed-in" in told(somebody("whoami", "--url", url))
    assert api.asked == []


STATEFUL = [
    ["whoami"],
    ["status"],
    ["status", "--json"],
    ["doctor"],
    ["down"],
    ["restart"],
    ["metrics", "web"],
    ["demo", "links"],
    ["person", "first", "/dev/null"],
    ["ledger", "show"],
    ["ledger", "checkpoint"],
    ["ledger", "key"],
    ["ledger", "export", "x.txt"],
    ["ledger", "cosign", "/dev/null", "--witness", "w"],
    ["dataset", "add", "a", "1"],
    ["dataset", "verify", "a", "1"],
]


@pytest.mark.parametrize("words", STATEFUL, ids=[" ".join(words) for words in STATEFUL])
def test_a_foreign_state_folder_is_a_sentence(somebody: Run, words: list[str]) -> None:
    assert "belongs to the account that this TRE runs as" in told(somebody(*words))


@pytest.mark.parametrize("words", [["ledger", "verify"], ["ledger", "verify", "export"], ["bundle", "verify", "b.zip"]])
def test_verifying_without_a_key_asks_for_one(somebody: Run, words: list[str]) -> None:
    assert "with --key" in told(somebody(*words))
    assert "with --key" in told(somebody(*words, TRE_STATE_DIR="nowhere"))


def test_an_export_is_verified_with_a_key_and_nothing_else(somebody: Run, closed: Path, tmp_path: Path) -> None:
    closed.chmod(0o700)
    made = [sys.executable, "-m", "tre_orchestrator.cli", "ledger"]
    shared = Path(f"/tmp/tre-somebody-{os.getpid()}")
    for name, words in (("key.txt", ["key"]), ("kept.txt", ["checkpoint"])):
        text = subprocess.run([*made, *words, "--state", closed], capture_output=True, check=True).stdout
        (shared / name).write_bytes(text)
    subprocess.run([*made, "export", shared / "export.txt", "--state", closed], check=True, capture_output=True)
    (shared / "export.txt").chmod(0o644)
    closed.chmod(0o700 if os.geteuid() == 0 else 0o000)
    done = somebody("ledger", "verify", "export.txt", "--key", "key.txt", "--since", "kept.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert "It continues your checkpoint" in done.stdout


def test_a_database_that_is_none_is_a_sentence(somebody: Run, tmp_path: Path) -> None:
    home = Path(f"/tmp/tre-somebody-{os.getpid()}")
    (home / "none.txt").write_text("not a database, but long enough to be read as the head of one: " + "x" * 200)
    (home / "none.txt").chmod(0o644)
    for words in (["demo", "links"], ["ledger", "show"], ["dataset", "add", "a", "1"]):
        told(somebody(*words, TRE_STATE_DIR=str(home), TRE_DATABASE_URL=f"sqlite:///{home}/none.txt"))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TRE_LOG_LEVEL": "verbose"}, "Setting 'log_level' from the environment (TRE_LOG_LEVEL)"),
        ({"TRE_DATA_ROOTS": "["}, "TRE_DATA_ROOTS in the environment is not a YAML value"),
        ({"TRE_DATABASE_URL": "nonsense"}, "database"),
    ],
)
def test_a_wrong_setting_is_a_sentence(somebody: Run, environment: dict[str, str], said: str) -> None:
    assert said in told(somebody("ledger", "show", TRE_STATE_DIR="nowhere", **environment))
