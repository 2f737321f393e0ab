"""What a workspace is made of, as plain data that both backends only translate.

`plan(...)` is pure: the same project, person and decision give the same plan, and two different (person, project)
pairs never share a writable path except the project's `/shared`. `why_misplaced` refuses every source outside the
roots that the reader of a plan was told by others. Standard library only: the privileged launcher uses this module.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tre_orchestrator.errors import Invalid, Refusal
from tre_orchestrator.workspaces.plan_form import (
    COMMAND,
    DATA,
    ENVIRONMENT,
    HOME,
    IMPORTS,
    INSIDE,
    OUTCOMES,
    OUTPUTS,
    REQUIRED,
    SHARED,
    SOFTWARE,
    VERSION,
    WRITABLE,
    Mount,
    PlanLimits,
    WorkspacePlan,
    bad_plan,
)

if TYPE_CHECKING:
    from tre_orchestrator.catalogue.models import Project
    from tre_orchestrator.catalogue.names import PersonId, WorkspaceId
    from tre_orchestrator.governance.model import Decision
    from tre_orchestrator.settings import Settings

__all__ = [
    "COMMAND",
    "DATA",
    "ENVIRONMENT",
    "HOME",
    "IMPORTS",
    "INSIDE",
    "OUTCOMES",
    "OUTPUTS",
    "REQUIRED",
    "SHARED",
    "SOFTWARE",
    "VERSION",
    "WRITABLE",
    "Mount",
    "PlanLimits",
    "Roots",
    "WorkspacePlan",
    "inner_token",
    "plan",
    "roots_of",
    "socket_name",
    "socket_path",
    "why_misplaced",
]


@dataclass(frozen=True, slots=True)
class Roots:
    """Where sources may lie, as the reader of a plan knows it itself; absolute paths."""

    workspaces: str
    shared: str
    data: tuple[str, ...]
    environment: str
    inside: str
    software: str | None = None


def roots_of(settings: Settings, environment: Path, inside: Path) -> Roots:
    """The roots that `settings` allows."""
    return Roots(
        workspaces=str(settings.workspaces_dir),
        shared=str(settings.shared_dir),
        data=tuple(str(root) for root in settings.all_data_roots),
        environment=str(environment),
        inside=str(inside),
        software=str(settings.software_dir) if settings.software_dir else None,
    )


def plan(
    *,
    workspace: WorkspaceId,
    nonce: str,
    project: Project,
    person: PersonId,
    decision: Decision,
    settings: Settings,
    environment: Path,
    inside: Path,
) -> WorkspacePlan:
    """The plan for `person`'s workspace in `project` under a decision that allows it.

    `environment` and `inside` are the folders of the locked environment and of the read-only layer at /opt/tre.
    Raises `Invalid` when the decision did not allow, or when a dataset lies outside the declared roots.
    """
    if not decision.allowed:
        raise bad_plan("the decision does not allow this workspace")
    policy = decision.tier_policy
    roots = roots_of(settings, environment, inside)
    own = f"{roots.workspaces}/{workspace}"
    name = project.metadata.name
    mounts = [
        Mount(roots.environment, ENVIRONMENT, False),
        Mount(roots.inside, INSIDE, False),
        Mount(f"{own}/home", HOME, True),
        Mount(f"{own}/outputs", OUTPUTS, True),
        Mount(f"{roots.shared}/{name}", SHARED, True),
        Mount(f"{own}/imports", IMPORTS, False),
        Mount(f"{own}/outcomes", OUTCOMES, False),
    ]
    if roots.software:
        mounts.append(Mount(roots.software, SOFTWARE, False))
    mounts += [Mount(str(dataset.folder), f"{DATA}/{dataset.name}", False) for dataset in decision.datasets]
    limits = policy.limits
    made = WorkspacePlan(
        workspace=workspace,
        person=person,
        project=name,
        nonce=nonce,
        mounts=tuple(mounts),
        limits=PlanLimits(
            memory_mib=limits.memory_mib,
            cpus=float(limits.cpus),
            processes=limits.processes,
            disk_mib=limits.disk_mib,
            tmp_mib=limits.tmp_mib,
        ),
        variables=tuple(sorted(_variables(project, scripts=policy.scripts_in_output).items())),
    )
    refusal = why_misplaced(made, roots)
    if refusal:
        raise Invalid(refusal.code, refusal.sentence)
    return WorkspacePlan.from_json(made.to_json())


def why_misplaced(plan: WorkspacePlan, roots: Roots) -> Refusal | None:
    """Why a mount's source is not where such a source must be, or None. The rule of N3 and D1 for paths."""
    own = f"{roots.workspaces}/{plan.workspace}"
    exact = {
        ENVIRONMENT: roots.environment,
        INSIDE: roots.inside,
        HOME: f"{own}/home",
        OUTPUTS: f"{own}/outputs",
        IMPORTS: f"{own}/imports",
        OUTCOMES: f"{own}/outcomes",
        SHARED: f"{roots.shared}/{plan.project}",
        SOFTWARE: roots.software,
    }
    for mount in plan.mounts:
        if mount.target in exact:
            right = mount.source == exact[mount.target]
        else:
            is_ours = any(_is_below(mount.source, root) for root in (roots.workspaces, roots.shared))
            right = not is_ours and any(_is_below(mount.source, root) for root in roots.data)
        if not right:
            return Refusal(
                "plan-source", f"The plan takes {mount.target} from a place outside its root; it was refused."
            )
    return None


def _is_below(path: str, root: str) -> bool:
    return path.startswith(f"{root.rstrip('/')}/")


def socket_name(workspace: str, nonce: str) -> str:
    """The file name of a workspace's listener below `run/ws/`; a new nonce, a new socket."""
    return f"{workspace}-{nonce}.sock"


def socket_path(settings: Settings, workspace: str, nonce: str) -> Path:
    """Where the gate finds the workspace that was started with `nonce`."""
    return settings.run_dir / "ws" / socket_name(workspace, nonce)


def inner_token(key: bytes, workspace: str, nonce: str) -> str:
    """The token that only the gate and this start of the workspace know: derived, never stored."""
    return hmac.new(key, f"{workspace}:{nonce}".encode(), hashlib.sha256).hexdigest()


def _variables(project: Project, *, scripts: bool) -> dict[str, str]:
    """The workspace's environment. No secret, nothing of the hub, nothing of the host."""
    return {
        "HOME": HOME,
        "USER": "analyst",
        "LOGNAME": "analyst",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PATH": f"{ENVIRONMENT}/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": ENVIRONMENT,
        "PYTHONPATH": f"{INSIDE}/lib",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUPYTER_CONFIG_DIR": f"{INSIDE}/config",
        "JUPYTER_CONFIG_PATH": f"{INSIDE}/config",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PATH": f"{ENVIRONMENT}/share/jupyter",
        "JUPYTER_RUNTIME_DIR": "/run/jupyter",
        "TRE_PROJECT": project.metadata.name,
        "TRE_TIER": str(project.spec.tier),
        "TRE_SCRIPTS_IN_OUTPUT": "1" if scripts else "0",
    }
