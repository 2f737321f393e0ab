"""One typed settings object. No other module reads the environment.

Order: `TRE_*` environment variables, then `<state>/settings.yaml`, then the defaults below. An unknown key in either
stops the process: a misspelt control must not be a missing one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tre_orchestrator.errors import Invalid
from tre_orchestrator.setting_rules import check_mfa_claim, check_oidc, check_site

PREFIX = "TRE_"
CLIENTS_OWN = ("url",)
"""What `tre` takes from the environment as an API client; no setting of a TRE."""
ROOTS_OWN = ("environment_dir", "software_dir", "cache_dir", "data_roots", "privilege")
"""What root runs, shows to workspaces or locks them by: it takes these from no file that another account owns."""

_SOCKET_PATH_ROOM = 60
"""Bytes kept free for a socket's file name: Linux allows 107 in all (unix(7))."""


class ForeignState(Invalid):
    """The state folder belongs to another account."""


class Settings(BaseModel):
    """Everything that can be set. Paths are absolute after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    state_dir: Path = Field(
        default=Path(".tre"), description="State folder; set by --state or the environment, never in settings.yaml"
    )
    database_url: str = Field(default="", description="SQLAlchemy URL; empty: SQLite in the state folder")
    site: str = Field(default="tre.localhost", description="People's host name; workspaces are below lab.<site>")
    listen_host: str = Field(default="127.0.0.1", description="Address of the front door")
    listen_port: int = Field(default=8000, ge=0, le=65535, description="Port of the front door")
    public_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port that browsers use, with a proxy before; none: listen_port",
    )
    scheme: str = Field(
        default="http", pattern="^https?$", description="How browsers come here; https means TLS ends before the gate"
    )
    demo: bool = Field(default=False, description="Invented people, projects and data; listens on loopback only")
    data_roots: tuple[Path, ...] = Field(
        default=(), description="Folders that dataset versions may lie below; the state folder's data/ always is one"
    )
    environment_dir: Path | None = Field(
        default=None, description="The workspace environment; none: built into the cache"
    )
    software_dir: Path | None = Field(
        default=None, description="A read-only shelf of packages, seen as /software; none: no shelf"
    )
    cache_dir: Path | None = Field(
        default=None,
        description="Where the environment is built; none: /var/cache/tre-orchestrator as root, else ~/.cache",
    )
    privilege: str = Field(
        default="auto",
        pattern="^(auto|user|root|root-no-userns)$",
        description="Privilege mode of workspaces; auto: the best that works here",
    )
    lease_seconds: float = Field(
        default=60.0, gt=0, description="A workspace or a right that nobody could confirm for this long ends"
    )
    right_interval_seconds: float = Field(
        default=1.0, gt=0, le=2.0, description="How often every right in use is decided again"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="How much is logged")
    oidc: dict[str, str] | None = Field(
        default=None,
        description="OpenID Connect provider, how-to/operate.md lists the keys; none: one-time links and passwords",
    )
    mfa_claim: str = Field(
        default="amr=mfa", description="claim=value in the identity provider's answer that proves a second factor"
    )

    @field_validator("site")
    @classmethod
    def _site(cls, value: str) -> str:
        return check_site(value)

    @field_validator("mfa_claim")
    @classmethod
    def _mfa_claim(cls, value: str) -> str:
        return check_mfa_claim(value)

    @field_validator("oidc")
    @classmethod
    def _oidc(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return None if value is None else check_oidc(value)

    @field_validator("listen_port", "public_port", mode="before")
    @classmethod
    def _port(cls, value: object) -> object:
        if isinstance(value, bool):  # YAML's `yes` would be port 1
            raise ValueError("it must be a number")
        return value

    @property
    def sqlalchemy_url(self) -> str:
        """The database: what was set, else SQLite in the state folder."""
        return self.database_url or f"sqlite:///{self.state_dir / 'tre.sqlite'}"

    @property
    def keys_dir(self) -> Path:
        """Keys and secrets, readable by their owner only."""
        return self.state_dir / "keys"

    @property
    def log_dir(self) -> Path:
        """One log file for each process."""
        return self.state_dir / "log"

    @property
    def workspaces_dir(self) -> Path:
        """A folder for each workspace: home, outputs, imports, outcomes."""
        return self.state_dir / "workspaces"

    @property
    def shared_dir(self) -> Path:
        """Per-project folders that all members' workspaces share."""
        return self.state_dir / "shared"

    @property
    def store_dir(self) -> Path:
        """The airlock's encrypted, content-addressed store."""
        return self.state_dir / "store"

    @property
    def all_data_roots(self) -> tuple[Path, ...]:
        """The folders that dataset versions may lie below."""
        return (self.state_dir / "data", *self.data_roots)

    @property
    def run_dir(self) -> Path:
        """Sockets and pid files. Outside the state folder when its path is too long for a socket address."""
        inside = self.state_dir / "run"
        if len(os.fsencode(inside)) + _SOCKET_PATH_ROOM <= 107:
            return inside
        digest = hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:12]
        return Path("/tmp") / f"tre-{digest}"

    @property
    def cache(self) -> Path:
        """Long builds, by the hash of their pins; a folder that other users can reach when root builds."""
        if self.cache_dir:
            return self.cache_dir
        if os.geteuid() == 0:
            return Path("/var/cache/tre-orchestrator")
        return Path.home() / ".cache" / "tre-orchestrator"

    @property
    def port_suffix(self) -> str:
        """`:port` as it stands in addresses; empty for the scheme's own port."""
        default = 443 if self.scheme == "https" else 80
        port = self.public_port or self.listen_port
        return "" if port == default else f":{port}"

    @property
    def people_origin(self) -> str:
        """The address of people's pages, without a slash at the end."""
        return f"{self.scheme}://{self.site}{self.port_suffix}"

    def sign_in_link(self, token: str) -> str:
        """The address at which a one-time token signs its person in; the token is in the part no server is sent."""
        return f"{self.people_origin}/hub/login#token={token}"

    def workspace_host(self, workspace_id: str) -> str:
        """The host name that only this workspace answers to, without the port."""
        return f"{workspace_id}.lab.{self.site}"

    def workspace_origin(self, workspace_id: str) -> str:
        """The address of one workspace, without a slash at the end."""
        return f"{self.scheme}://{self.workspace_host(workspace_id)}{self.port_suffix}"


def load_settings(state_dir: Path | None = None, **overrides: Any) -> Settings:
    """Read settings for the TRE whose state lies in `state_dir` (else `TRE_STATE_DIR`, else `.tre`).

    Raises `Invalid` naming the key, where it was read from and what is wrong with it.
    """
    given = {key[len(PREFIX) :].lower(): value for key, value in os.environ.items() if key.startswith(PREFIX)}
    environment = {key: value for key, value in given.items() if key not in CLIENTS_OWN}
    folder = (state_dir or Path(environment.get("state_dir", ".tre"))).absolute()
    stored = _read_file(folder / "settings.yaml")
    values: dict[str, Any] = {**stored, **_parsed(environment), **overrides, "state_dir": folder}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        origin = f"the environment ({PREFIX}{key.upper()})" if key in environment else str(folder / "settings.yaml")
        why = first["msg"].removeprefix("Value error, ")
        raise Invalid("settings", f"Setting '{key}' from {origin}: {why}. Correct it and start again.") from error


def save_settings(settings: Settings) -> None:
    """Keep the settings beside the state, so that later commands on the same folder agree with the running TRE.

    Saved by root they stay root's: the services, who own the folder, can replace the file but not pass theirs off.
    """
    data = settings.model_dump(mode="json", exclude_unset=True, exclude={"state_dir"})
    path = settings.state_dir / "settings.yaml"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix="settings-", delete=False) as fresh:
        yaml.safe_dump(data, fresh, sort_keys=True)
        os.fchmod(fresh.fileno(), 0o644)
    os.replace(fresh.name, path)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise ForeignState(
            "foreign-state",
            f"{path} may not be read by you: it belongs to the account that this TRE runs as. Run the command as that "
            "account; commands that act with your own token need only the TRE's address (--url).",
        ) from error
    except OSError as error:
        raise Invalid("settings", f"{path} cannot be read ({error.strerror}). It must be a plain file.") from error
    with open(descriptor, encoding="utf-8") as file:
        owner = os.fstat(descriptor).st_uid
        data = _parse(path, file.read())
    foreign = [key for key in ROOTS_OWN if key in data] if os.geteuid() == 0 and owner != 0 else []
    if foreign:
        raise Invalid(
            "settings-owner",
            f"{path} sets '{foreign[0]}', which decides what root does, but it belongs to uid {owner}. Look at it; if "
            f"it is right, run `chown root {path}` and start again.",
        )
    return data


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise Invalid("settings", f"{path} is not YAML: {error}. Correct it or remove it.") from error
    if not isinstance(data, dict):
        raise Invalid("settings", f"{path} must hold keys and values.")
    return data


def _parsed(environment: dict[str, str]) -> dict[str, Any]:
    """Values of the environment as YAML scalars or lists, so `true`, `8001` and `[/srv/a]` mean what they say."""
    textual = {"site", "scheme", "privilege", "log_level", "database_url", "listen_host", "mfa_claim"}
    return {key: value if key in textual else _scalar(key, value) for key, value in environment.items()}


def _scalar(key: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        sentence = f"{PREFIX}{key.upper()} in the environment is not a YAML value. Correct it or unset it."
        raise Invalid("settings", sentence) from error
