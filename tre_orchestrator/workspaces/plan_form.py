"""The form of a workspace plan: its dataclasses, where things are mounted, and the one JSON form that is accepted.

`WorkspacePlan.from_json` takes nothing but what `to_json` writes: exact keys, plain absolute paths, known places, each
once, writable only where a workspace writes. Standard library only: the privileged launcher reads plans with this.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import Any

from tre_orchestrator.errors import Invalid

VERSION = 1
ENVIRONMENT = "/opt/env"
INSIDE = "/opt/tre"
HOME = "/home/analyst"
OUTPUTS = "/outputs"
SHARED = "/shared"
IMPORTS = "/imports"
OUTCOMES = "/outcomes"
SOFTWARE = "/software"
DATA = "/data"
COMMAND = (f"{ENVIRONMENT}/bin/python", "-s", "-B", f"{INSIDE}/nbmain.py")
"""What runs inside: isolated from user site-packages (-s), writing no byte code (-B)."""

WRITABLE = frozenset({HOME, OUTPUTS, SHARED})
REQUIRED = frozenset({ENVIRONMENT, INSIDE, HOME, OUTPUTS, SHARED, IMPORTS, OUTCOMES})

_WORKSPACE = re.compile(r"[a-z2-7]{16}")
_NONCE = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"(?=.{1,30}\Z)[a-z](?:-?[a-z0-9])*")
"""The catalogue's rule for names (catalogue/names.py), again because this module stands alone."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_FORBIDDEN_VARIABLES = ("JUPYTERHUB_", "JUPYTER_TOKEN", "LD_")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host (`source`, absolute) seen in the workspace at `target`."""

    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What the workspace may use (N4). MiB, cores, number of processes."""

    memory_mib: int
    cpus: float
    processes: int
    disk_mib: int
    tmp_mib: int


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """Everything a backend needs to start one workspace; holds no secret."""

    workspace: str
    person: str
    project: str
    nonce: str
    mounts: tuple[Mount, ...]
    limits: PlanLimits
    variables: tuple[tuple[str, str], ...]
    command: tuple[str, ...] = COMMAND

    def mount(self, target: str) -> Mount:
        """The mount at `target`."""
        return next(mount for mount in self.mounts if mount.target == target)

    @property
    def datasets(self) -> tuple[Mount, ...]:
        """The dataset mounts, read-only, below /data."""
        return tuple(mount for mount in self.mounts if mount.target.startswith(f"{DATA}/"))

    @property
    def socket_name(self) -> str:
        """The listener's file name below `run/ws/`."""
        return f"{self.workspace}-{self.nonce}.sock"

    def to_json(self) -> str:
        """The plan as it is kept beside the workspace."""
        return json.dumps(
            {
                "version": VERSION,
                "workspace": self.workspace,
                "person": self.person,
                "project": self.project,
                "nonce": self.nonce,
                "mounts": [{name: getattr(mount, name) for name in _MOUNT_KEYS} for mount in self.mounts],
                "limits": {name: getattr(self.limits, name) for name in _LIMIT_KEYS},
                "variables": dict(self.variables),
                "command": list(self.command),
            },
            indent=1,
            sort_keys=True,
        )

    @staticmethod
    def from_json(text: str) -> WorkspacePlan:
        """Read a plan; raises `Invalid` for anything that `to_json` would not have written."""
        try:
            data = json.loads(text, object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as error:
            raise bad_plan(f"it is not JSON ({error})") from error
        return _plan_of(data)


_PLAN_KEYS = frozenset(
    {"version", "workspace", "person", "project", "nonce", "mounts", "limits", "variables", "command"}
)
_MOUNT_KEYS = ("source", "target", "writable")
_LIMIT_KEYS = ("memory_mib", "cpus", "processes", "disk_mib", "tmp_mib")


def bad_plan(why: str) -> Invalid:
    """The error for whatever is not a plan."""
    return Invalid("plan", f"This is not a workspace plan: {why}. The workspace was not started.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _mapping(value: Any, keys: frozenset[str] | set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise bad_plan(f"{what} must have exactly the keys {', '.join(sorted(keys))}")
    return value


def is_name(text: str) -> bool:
    """Whether it follows the catalogue's rule for names."""
    return _NAME.fullmatch(text) is not None


def _text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise bad_plan(f"{what} has not the promised form")
    return value


def _plan_of(value: Any) -> WorkspacePlan:
    data = _mapping(value, _PLAN_KEYS, "the plan")
    if type(data["version"]) is not int or data["version"] != VERSION:
        raise bad_plan(f"version must be {VERSION}")
    if not isinstance(data["mounts"], list) or not isinstance(data["command"], list):
        raise bad_plan("mounts and command must be lists")
    command = tuple(data["command"])
    if not command or not all(isinstance(word, str) and word and "\0" not in word for word in command):
        raise bad_plan("command must be words")
    return WorkspacePlan(
        workspace=_text(data["workspace"], _WORKSPACE, "workspace"),
        person=_text(data["person"], _NAME, "person"),
        project=_text(data["project"], _NAME, "project"),
        nonce=_text(data["nonce"], _NONCE, "nonce"),
        mounts=_mounts_of(data["mounts"]),
        limits=_limits_of(data["limits"]),
        variables=_variables_of(data["variables"]),
        command=command,
    )


def _mounts_of(values: list[Any]) -> tuple[Mount, ...]:
    mounts = []
    for value in values:
        data = _mapping(value, set(_MOUNT_KEYS), "a mount")
        source, target, writable = (data[key] for key in _MOUNT_KEYS)
        if not _is_plain_path(source) or not _is_plain_path(target) or not isinstance(writable, bool):
            raise bad_plan("a mount needs two absolute, normal paths and true or false")
        if writable != (target in WRITABLE):
            raise bad_plan(f"{target} must {'' if target in WRITABLE else 'not '}be writable")
        is_dataset = posixpath.dirname(target) == DATA and _NAME.fullmatch(posixpath.basename(target))
        if target not in REQUIRED and target != SOFTWARE and not is_dataset:
            raise bad_plan(f"{target} is no place for a mount")
        mounts.append(Mount(source, target, writable))
    targets = [mount.target for mount in mounts]
    if len(set(targets)) != len(targets) or not set(targets) >= REQUIRED:
        raise bad_plan("every place must be mounted once")
    return tuple(mounts)


def _is_plain_path(value: Any) -> bool:
    return (
        isinstance(value, str)
        and value.startswith("/")
        and not value.startswith("//")
        and posixpath.normpath(value) == value
        and value != "/"
        and value.isprintable()
    )


def _limits_of(value: Any) -> PlanLimits:
    data = _mapping(value, set(_LIMIT_KEYS), "limits")
    for key, number in data.items():
        fits = isinstance(number, int) or (key == "cpus" and isinstance(number, float))
        if not fits or isinstance(number, bool) or not 0 < number < 2**31:
            raise bad_plan(f"limit {key} must be a number above 0")
    return PlanLimits(**{**data, "cpus": float(data["cpus"])})


def _variables_of(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise bad_plan("variables must be names and values")
    for name, text in value.items():
        _text(name, _VARIABLE, "a variable's name")
        if name.startswith(_FORBIDDEN_VARIABLES):
            raise bad_plan(f"variable {name} is not allowed")
        if not isinstance(text, str) or not (text.isprintable() or text == ""):
            raise bad_plan(f"variable {name} must be one line of text")
    return tuple(sorted(value.items()))
