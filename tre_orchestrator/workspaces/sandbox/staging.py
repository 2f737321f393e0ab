"""Opens what a plan names, gives the analyst's own folders their owner, and stages all of it for an unprivileged uid.

Every source is opened once, by openat2 below a root that the launcher was told by its own starter, never by the plan;
from then on only the descriptor is used. In root mode the folders are shown on a tmpfs that other uids can enter but
not list, in a mount namespace of the launcher's own, so that a state folder closed to others stays closed.
Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tre_orchestrator.errors import Refused, Unavailable
from tre_orchestrator.workspaces import plan as places
from tre_orchestrator.workspaces.plan import Roots, WorkspacePlan, why_misplaced
from tre_orchestrator.workspaces.sandbox import disk, kernel
from tre_orchestrator.workspaces.sandbox.arguments import Bind

STAGE = Path("/run/tre-orchestrator/stage")
_OWN = (places.HOME, places.OUTPUTS)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns what in root mode: the services' uid, the workspace's uid, the project's gid."""

    service: int
    workspace: int
    project: int


@contextmanager
def opened(plan: WorkspacePlan, roots: Roots) -> Iterator[dict[str, int]]:
    """The plan's folders as descriptors by target. Raises `Refused` or `Unavailable` when one may not or cannot be."""
    refusal = why_misplaced(plan, roots)
    if refusal:
        raise Refused([refusal])
    descriptors: dict[str, int] = {}
    try:
        for mount in plan.mounts:
            try:
                descriptors[mount.target] = kernel.open_beneath(trusted_root(mount, roots), mount.source, _FOLDER)
            except OSError as error:
                raise Unavailable(
                    "source-missing",
                    f"What belongs at {mount.target} cannot be opened: {error.strerror}. Nothing was started.",
                ) from error
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def trusted_root(mount: places.Mount, roots: Roots) -> str:
    """From where on no link is followed to this source; `why_misplaced` has already agreed to its path.

    A root inside the state folder is itself not trusted, so the walk begins at the state folder.
    """
    fixed = {places.ENVIRONMENT: roots.environment, places.INSIDE: roots.inside, places.SOFTWARE: roots.software}
    root = fixed.get(mount.target)
    if root:
        return root
    if mount.target.startswith(f"{places.DATA}/"):
        root = next(root for root in roots.data if mount.source.startswith(f"{root.rstrip('/')}/"))
        return state_of(roots) if root.startswith(f"{state_of(roots)}/") else root
    return state_of(roots)


def give_owners(folders: dict[str, int], owners: Owners) -> None:
    """Home and outputs belong to the workspace alone; the shared folder is the project's, new files in it too."""
    for target in _OWN:
        _own_folder(folders[target], target, owners.workspace, owners)
    _own_shared(folders[places.SHARED], owners)


def stage(plan: WorkspacePlan, folders: dict[str, int], owners: Owners, own: int | None) -> tuple[Bind, ...]:
    """Mount every folder on the stage of this process and say from where bwrap shall take it.

    With `own`, the workspace's own folder, home and outputs come from an image in it that caps their size. The
    descriptors must have been opened after `make_stage`: the kernel binds nothing from another mount namespace.
    """
    if own is not None:
        folders = {**folders, **_own_disk(own, owners, plan.limits.disk_mib)}
    binds = []
    for number, mount in enumerate(plan.mounts):
        target = _stage_folder(str(number))
        kernel.bind(folders[mount.target], str(target), read_only=not mount.writable)
        binds.append(Bind(str(target), mount.target, mount.writable))
    return tuple(binds)


def unstaged(plan: WorkspacePlan) -> tuple[Bind, ...]:
    """User mode: bwrap takes the folders from where they are; they belong to the one uid that everything runs as."""
    return tuple(Bind(mount.source, mount.target, mount.writable) for mount in plan.mounts)


def outputs_on_disk() -> int:
    """The staged outputs folder as a descriptor, after `stage` mounted an image."""
    return os.open(STAGE / "disk" / "outputs", _FOLDER | os.O_CLOEXEC)


def open_image_outputs(own: int) -> int:
    """The outputs folder on the image of a workspace that does not run, after `make_stage`."""
    target = _stage_folder("disk")
    disk.mount_image(own, str(target), read_only=True)
    return outputs_on_disk()


def uses_image(own: int, folders: dict[str, int], *, can_mount: bool) -> bool:
    """Whether this workspace lives on an image: it has one, or nothing was ever written to its plain folders.

    Raises `Unavailable` when it has one that cannot be mounted now: it must never see empty folders instead.
    """
    if disk.has_image(own):
        if not can_mount:
            raise Unavailable(
                "disk-not-mounted",
                "This workspace's files lie on a disk image, and this machine mounts none at the moment. They are "
                "safe. Ask the people who run this TRE to look at `tre doctor` and restart it.",
            )
        return True
    return can_mount and not any(os.listdir(folders[target]) for target in _OWN)


def open_own(plan_workspace: str, roots: Roots) -> int:
    """The workspace's own folder, which holds its plan and its image."""
    return kernel.open_beneath(state_of(roots), f"{roots.workspaces}/{plan_workspace}", _FOLDER)


def make_stage() -> None:
    """A tmpfs that only this process and its children see, which others can enter but not list."""
    STAGE.mkdir(parents=True, exist_ok=True)
    for folder in (STAGE.parent, STAGE):  # whatever the umask is
        folder.chmod(0o755)
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", str(STAGE), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0711,size=256k")


def _stage_folder(name: str) -> Path:
    folder = STAGE / name
    folder.mkdir()
    folder.chmod(0o711)
    return folder


def _own_disk(own: int, owners: Owners, disk_mib: int) -> dict[str, int]:
    """Home and outputs on the mounted image, as descriptors that live as long as this process."""
    target = _stage_folder("disk")
    if not disk.has_image(own):
        disk.make_image(own, disk_mib)
    disk.mount_image(own, str(target), disk_mib)
    opened = {}
    for place, name in ((places.HOME, "home"), (places.OUTPUTS, "outputs")):
        folder = target / name
        folder.mkdir(mode=0o700, exist_ok=True)
        opened[place] = os.open(folder, _FOLDER | os.O_CLOEXEC)
        os.fchown(opened[place], owners.workspace, owners.workspace)
        os.fchmod(opened[place], 0o700)
    return opened


def state_of(roots: Roots) -> str:
    """The state folder. What is below it belongs to the services, who could put links there; above it they cannot."""
    return os.path.dirname(roots.workspaces)


def _own_folder(descriptor: int, target: str, uid: int, owners: Owners) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in (owners.service, owners.workspace):
        raise Unavailable(
            "foreign-folder",
            f"The folder for {target} belongs to uid {status.st_uid}, not to this workspace. It was not started.",
        )
    if (status.st_uid, status.st_gid) != (uid, uid):
        os.fchown(descriptor, uid, uid)
    os.fchmod(descriptor, 0o700)


def _own_shared(descriptor: int, owners: Owners) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != owners.service:
        raise Unavailable("foreign-folder", f"The project's shared folder belongs to uid {status.st_uid}.")
    if status.st_gid != owners.project:
        os.fchown(descriptor, owners.service, owners.project)
    os.fchmod(descriptor, 0o2770)
