"""What the node's programs read from files: kubelet, containerd, the network plugins, and a /proc for Cilium."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.image_build import image
from tests.cluster.network import PODS, PODS_6
from tests.cluster.outside_server import DNS
from tests.cluster.spaces import Spaces

CNIS = ("cilium", "bridge")
"""Network layers: one that enforces policies, and one that ignores them, as some clusters' do."""

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# Cilium reads /proc/modules, which a kernel built without modules lacks: there it gets a /proc that names what Cilium
# asks for before it speaks IPv6. Such a kernel has it built in: iptables works over nftables.
WITH_PROC_MODULES = """
if [ ! -e /proc/modules ]; then
  mkdir -p /run/realproc; mount --rbind /proc /run/realproc; mount -t tmpfs tmpfs /proc
  for entry in $(ls /run/realproc | grep -vE '^[0-9]+$') 1 $$; do ln -s /run/realproc/$entry /proc/$entry; done
  for module in ip6_tables ip6table_mangle ip6table_raw ip6table_filter; do
    echo "$module 0 0 - Live 0x0"
  done > /proc/modules
fi
exec "$@"
"""


def write_settings(spaces: Spaces, programs: Path, pki: Path, cni: str) -> None:
    """Write containerd.toml, kubelet.yaml, resolv.conf and the network layer's list into the state folder."""
    folder = spaces.folder
    (folder / "cni").mkdir()
    (folder / "cni" / "10-test.conflist").write_text(json.dumps(_network_layer(cni)))
    (folder / "resolv.conf").write_text(f"nameserver {DNS}\n")
    (folder / "containerd.toml").write_text(_containerd(folder, programs))
    (folder / "kubelet.yaml").write_text(json.dumps(_kubelet(folder, pki, spaces.cgroup)))


def _network_layer(cni: str) -> dict[str, object]:
    if cni == "cilium":
        return {"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni"}]}
    ranges = [[{"subnet": PODS.replace("/16", "/24")}], [{"subnet": PODS_6.replace("/56", "/64")}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    plugin = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
    }
    return {"cniVersion": "0.3.1", "name": "bridge", "plugins": [plugin]}


def _containerd(folder: Path, programs: Path) -> str:
    return f"""
version = 3
root = "{folder}/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{image("pause").reference}"
[plugins."io.containerd.cri.v1.runtime"]
  # Lower scores need CAP_SYS_RESOURCE, which not every root has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{folder}/plugins"]
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{programs}/runc"
"""


def _kubelet(folder: Path, pki: Path, cgroup: str) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "evictionHard": {},
        "podLogsDir": f"{folder}/podlogs",
        "volumePluginDir": f"{folder}/volume-plugins",
        "resolvConf": f"{folder}/resolv.conf",
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "shutdownGracePeriod": "0s",
    }
