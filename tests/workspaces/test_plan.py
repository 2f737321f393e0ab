"""The plan: pure, strict, and never a path that two workspaces share."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.governance import build
from tre_orchestrator.catalogue.models import Limits, TierPolicy
from tre_orchestrator.catalogue.names import DatasetName, PersonId, Sha256, WorkspaceId
from tre_orchestrator.errors import Invalid
from tre_orchestrator.governance.model import Decision, Mountable
from tre_orchestrator.settings import Settings
from tre_orchestrator.workspaces.plan import (
    HOME,
    OUTPUTS,
    REQUIRED,
    SHARED,
    WRITABLE,
    Mount,
    WorkspacePlan,
    inner_token,
    plan,
    roots_of,
    socket_path,
    why_misplaced,
)
from tre_orchestrator.workspaces.rows import new_id, new_nonce

STATE = Path("/srv/tre")
SETTINGS = Settings(state_dir=STATE, data_roots=(Path("/mnt/sets"),))
ENVIRONMENT, INSIDE = Path("/var/cache/env"), Path("/usr/share/tre/inside")
ROOTS = roots_of(SETTINGS, ENVIRONMENT, INSIDE)

_BASE32 = string.ascii_lowercase + "234567"
ids = st.text(_BASE32, min_size=16, max_size=16).map(WorkspaceId)
nonces = st.text("0123456789abcdef", min_size=16, max_size=16)
names = st.from_regex(r"\A[a-z](?:-?[a-z0-9]){0,8}\Z")
limits = st.builds(
    Limits,
    memory_mib=st.integers(256, 1_048_576),
    cpus=st.floats(0.25, 256, allow_nan=False),
    processes=st.integers(32, 65536),
    disk_mib=st.integers(64, 1_000_000),
    tmp_mib=st.integers(16, 65536),
)


def decision(*datasets: Mountable, policy: TierPolicy | None = None) -> Decision:
    return Decision(True, (), None, "", Sha256("0" * 64), policy or TierPolicy(), tuple(datasets), 0)


def mountable(name: str = "lungs", folder: str = "/srv/tre/data/lungs/1.0") -> Mountable:
    return Mountable(DatasetName(name), "1.0", Path(folder), Sha256("1" * 64))


def a_plan(
    workspace: str = "a" * 16,
    project: str = "heart",
    person: str = "ana",
    nonce: str = "0" * 16,
    decided: Decision | None = None,
    settings: Settings = SETTINGS,
) -> WorkspacePlan:
    return plan(
        workspace=WorkspaceId(workspace),
        nonce=nonce,
        project=build.project(project),
        person=PersonId(person),
        decision=decided or decision(mountable()),
        settings=settings,
        environment=ENVIRONMENT,
        inside=INSIDE,
    )


def test_N3_datasets_environment_and_imports_are_read_only_and_nothing_else_is_mounted() -> None:
    made = a_plan()
    assert {mount.target for mount in made.mounts} == REQUIRED | {"/data/lungs"}
    assert {mount.target for mount in made.mounts if mount.writable} == {HOME, OUTPUTS, SHARED}
    assert made.datasets == (Mount("/srv/tre/data/lungs/1.0", "/data/lungs", False),)


def test_software_shelf_is_mounted_read_only_when_settings_have_one() -> None:
    shelf = SETTINGS.model_copy(update={"software_dir": Path("/srv/shelf")})
    assert a_plan(settings=shelf).mount("/software") == Mount("/srv/shelf", "/software", False)


def test_the_same_input_gives_the_same_plan() -> None:
    assert a_plan() == a_plan()


def test_a_refused_decision_gives_no_plan() -> None:
    refused = replace(decision(), allowed=False)
    with pytest.raises(Invalid, match="does not allow"):
        a_plan(decided=refused)


def test_no_variable_is_a_secret_or_of_the_hub() -> None:
    made = dict(a_plan().variables)
    assert not [name for name in made if "TOKEN" in name or "HUB" in name or "KEY" in name or "SECRET" in name]
    assert made["TRE_SCRIPTS_IN_OUTPUT"] == "0"
    allowed = a_plan(decided=decision(policy=TierPolicy(scripts_in_output=True)))
    assert dict(allowed.variables)["TRE_SCRIPTS_IN_OUTPUT"] == "1"


def test_limits_are_those_of_the_tier() -> None:
    policy = TierPolicy(limits=Limits(memory_mib=512, cpus=0.5, processes=64, disk_mib=128, tmp_mib=32))
    got = a_plan(decided=decision(policy=policy)).limits
    assert (got.memory_mib, got.cpus, got.processes, got.disk_mib, got.tmp_mib) == (512, 0.5, 64, 128, 32)


@given(first=st.tuples(ids, names, names), second=st.tuples(ids, names, names))
def test_N3_two_workspaces_share_no_writable_path_but_their_projects_folder(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    if first[0] == second[0]:
        return
    one, two = (a_plan(workspace, project, person) for workspace, project, person in (first, second))
    own = [
        {mount.source for mount in made.mounts if mount.source.startswith("/srv/tre/workspaces/")}
        | {mount.source for mount in made.mounts if mount.writable}
        for made in (one, two)
    ]
    common = own[0] & own[1]
    assert common == ({f"/srv/tre/shared/{first[1]}"} if first[1] == second[1] else set())


@given(workspace=ids, nonce=nonces, person=names, project=names, limit=limits, sets=st.sets(names, max_size=4))
def test_a_plan_survives_its_json(
    workspace: str, nonce: str, person: str, project: str, limit: Limits, sets: set[str]
) -> None:
    mounted = [mountable(name, f"/mnt/sets/{name}") for name in sorted(sets)]
    made = a_plan(workspace, project, person, nonce, decision(*mounted, policy=TierPolicy(limits=limit)))
    assert WorkspacePlan.from_json(made.to_json()) == made
    assert why_misplaced(made, ROOTS) is None


@given(source=st.text(min_size=1, max_size=40).map(lambda text: f"/{text}"), number=st.integers(0, 7))
def test_N3_no_source_outside_its_root_passes(source: str, number: int) -> None:
    made = a_plan()
    mount = made.mounts[number]
    moved = replace(made, mounts=(*made.mounts[:number], replace(mount, source=source), *made.mounts[number + 1 :]))
    is_right = source == mount.source or (
        mount.target == "/data/lungs" and source.startswith(("/srv/tre/data/", "/mnt/sets/"))
    )
    assert (why_misplaced(moved, ROOTS) is None) == is_right


@pytest.mark.parametrize(
    "folder",
    [
        "/etc",
        "/mnt/sets",
        "/mnt/setsecret/x",
        "/srv/tre/data",
        "/srv/tre/keys/inner.key",
        "/mnt/sets/../../etc",
        "/srv/tre/workspaces/aaaaaaaaaaaaaaaa/home",
    ],
)
def test_D1_a_dataset_outside_the_declared_roots_is_refused(folder: str) -> None:
    with pytest.raises(Invalid):
        a_plan(decided=decision(mountable(folder=folder)))


def test_N3_a_data_root_above_the_state_folder_does_not_open_other_homes() -> None:
    wide = SETTINGS.model_copy(update={"data_roots": (Path("/srv"),)})
    with pytest.raises(Invalid):
        a_plan(decided=decision(mountable(folder="/srv/tre/workspaces/bbbbbbbbbbbbbbbb/home")), settings=wide)
    with pytest.raises(Invalid):
        a_plan(decided=decision(mountable(folder="/srv/tre/shared/other")), settings=wide)


def _changed(path: tuple[str | int, ...], value: object) -> str:
    data = json.loads(a_plan().to_json())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("version",), True),
        (("version",), 1.0),
        (("extra",), 1),
        (("workspace",), "A" * 16),
        (("workspace",), "a" * 16 + "\n"),
        (("workspace",), "../../../../etc1"),
        (("nonce",), ""),
        (("nonce",), "g" * 16),
        (("project",), "a/b"),
        (("project",), "a" * 31),
        (("person",), None),
        (("mounts",), []),
        (("mounts",), {}),
        (("mounts", 0, "source"), "etc"),
        (("mounts", 0, "source"), "/a/../etc"),
        (("mounts", 0, "source"), "//etc"),
        (("mounts", 0, "source"), "/"),
        (("mounts", 0, "source"), "/a\n"),
        (("mounts", 0, "source"), "/a\0b"),
        (("mounts", 0, "writable"), True),
        (("mounts", 0, "writable"), 0),
        (("mounts", 0, "extra"), 0),
        (("mounts", 0, "target"), "/etc"),
        (("mounts", 7, "target"), "/data"),
        (("mounts", 7, "target"), "/data/a/b"),
        (("mounts", 7, "target"), "/data/.."),
        (("mounts", 7, "target"), "/home/analyst"),
        (("mounts", 7, "writable"), True),
        (("limits", "memory_mib"), 0),
        (("limits", "memory_mib"), 1.5),
        (("limits", "memory_mib"), True),
        (("limits", "memory_mib"), "512"),
        (("limits", "cpus"), -1),
        (("limits", "cpus"), float("nan")),
        (("limits", "more"), 1),
        (("variables", "JUPYTERHUB_API_TOKEN"), "x"),
        (("variables", "LD_PRELOAD"), "/tmp/x.so"),
        (("variables", "JUPYTER_TOKEN"), "x"),
        (("variables", "lower"), "x"),
        (("variables", "A=B"), "x"),
        (("variables", "TRE_X"), "a\nb"),
        (("variables", "TRE_X"), 1),
        (("command",), []),
        (("command",), [""]),
        (("command",), ["a\0b"]),
        (("command",), "sh"),
    ],
)
def test_anything_that_to_json_would_not_write_is_refused(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(Invalid):
        WorkspacePlan.from_json(_changed(path, value))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"version": 1, "version": 1}', "[" * 100_000])
def test_what_is_not_a_plan_at_all_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        WorkspacePlan.from_json(text)


def test_a_required_place_must_be_there() -> None:
    data = json.loads(a_plan().to_json())
    for number, mount in enumerate(data["mounts"]):
        if mount["target"] in REQUIRED:
            fewer = {**data, "mounts": data["mounts"][:number] + data["mounts"][number + 1 :]}
            with pytest.raises(Invalid):
                WorkspacePlan.from_json(json.dumps(fewer))
    assert WRITABLE <= REQUIRED


@given(key=st.binary(min_size=32, max_size=32), first=st.tuples(ids, nonces), second=st.tuples(ids, nonces))
def test_each_start_has_its_own_inner_token(key: bytes, first: tuple[str, str], second: tuple[str, str]) -> None:
    tokens = inner_token(key, *first), inner_token(key, *second)
    assert (tokens[0] == tokens[1]) == (first == second)


def test_ids_and_nonces_have_the_promised_form_and_their_sockets_fit() -> None:
    made = a_plan(workspace=new_id(), nonce=new_nonce())
    assert WorkspacePlan.from_json(made.to_json()) == made
    long = Settings(state_dir=Path("/tmp") / ("x" * 60))
    assert len(str(socket_path(long, made.workspace, made.nonce))) <= 107
