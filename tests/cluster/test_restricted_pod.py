"""A pod as a workspace will be: Pod Security restricted, a user namespace, a dataset read-only all the way down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.pods import Namespace, pod
from tre_orchestrator.errors import Unavailable

pytestmark = pytest.mark.cluster

_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

_LOOK = """
import json, os
def refused(path):
    try:
        with open(path, "w") as file:
            file.write("changed")
    except OSError as error:
        return type(error).__name__ + " " + os.strerror(error.errno)
    return None
print(json.dumps({
    "rows": open("/data/rows.csv").read(),
    "write": refused("/data/rows.csv"),
    "create": refused("/data/new"),
    "below": refused("/data/below/new"),
    "root": refused("/new"),
    "root is read-only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "uid on the host": int(open("/proc/self/uid_map").read().split()[1]),
    "capabilities": int([line for line in open("/proc/self/status") if line.startswith("CapBnd")][0].split()[1], 16),
}))
"""


@pytest.fixture
def dataset(our_cluster: Cluster) -> Path:
    """A folder on the node with rows in it, and below it another file system, which anybody may write to."""
    folder = our_cluster.folder("dataset")
    (folder / "rows.csv").write_text("id,value\n1,2\n")
    (folder / "rows.csv").chmod(0o666)
    folder.chmod(0o777)
    (folder / "below").mkdir()
    our_cluster.spaces.run("mount", "-t", "tmpfs", "-o", "mode=0777", "tmpfs", str(folder / "below"))
    return folder


def test_a_restricted_pod_reads_its_dataset_and_writes_nowhere(
    our_cluster: Cluster, dataset: Path, make_namespace: Callable[..., Namespace]
) -> None:
    namespace = make_namespace(**_RESTRICTED)
    namespace.create_all(*_claimed(namespace.name, dataset), _workspace("locked", recursive="Enabled", hostUsers=False))
    namespace.wait_for_phase("Succeeded", "locked")

    seen = json.loads(namespace.kubectl("logs", "locked"))

    assert seen.pop("uid on the host") >= 65536
    assert seen == {
        "rows": "id,value\n1,2\n",
        "write": "OSError Read-only file system",
        "create": "OSError Read-only file system",
        "below": "OSError Read-only file system",
        "root": "OSError Read-only file system",
        "root is read-only": True,
        "capabilities": 0,
    }
    our_cluster.kubectl("delete", "persistentvolume", namespace.name, "--wait=false")


def test_without_recursive_read_only_a_file_system_below_the_dataset_can_be_written(
    our_cluster: Cluster, dataset: Path, make_namespace: Callable[..., Namespace]
) -> None:
    """The control: it is this field that closes it, and the test above can fail."""
    namespace = make_namespace(**_RESTRICTED)
    namespace.create_all(*_claimed(namespace.name, dataset), _workspace("plain", recursive="Disabled"))
    namespace.wait_for_phase("Succeeded", "plain")

    seen = json.loads(namespace.kubectl("logs", "plain"))

    assert (seen["below"], seen["create"]) == (None, "OSError Read-only file system")
    assert seen["uid on the host"] == 0
    our_cluster.kubectl("delete", "persistentvolume", namespace.name, "--wait=false")


def test_pod_security_refuses_a_pod_that_asks_for_more(make_namespace: Callable[..., Namespace]) -> None:
    namespace = make_namespace(**_RESTRICTED)
    with pytest.raises(Unavailable, match="violates PodSecurity"):
        namespace.create_all(pod("wide", "true", hostNetwork=True))


def _claimed(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume for one claim only, and the claim: the way a project gets a dataset version."""
    both = {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeMode": "Filesystem"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": both
        | {
            "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": name, "name": "dataset"},
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "dataset"},
        "spec": both | {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
    }
    return volume, claim


def _workspace(name: str, *, recursive: str, **spec: Any) -> dict[str, Any]:
    mount = {"name": "dataset", "mountPath": "/data", "readOnly": True, "recursiveReadOnly": recursive}
    container = {
        "volumeMounts": [mount],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return pod(
        name,
        "python3",
        "-IBc",
        _LOOK,
        container=container,
        securityContext={"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        volumes=[{"name": "dataset", "persistentVolumeClaim": {"claimName": "dataset", "readOnly": True}}],
        **spec,
    )
