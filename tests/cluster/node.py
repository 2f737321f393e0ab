"""The programs of a one-node cluster: how each is set, in which order they start, and when the node can be used.

Each line that looks odd is there because something did not work without it; the reason stands beside it.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cluster.image_build import Image
from tests.cluster.network import API_SERVICE, NODE, NODE_6, PODS, PODS_6, SERVICES, SERVICES_6
from tests.cluster.node_settings import CONTAINERD_SOCKET, WITH_PROC_MODULES, write_settings
from tests.cluster.pki import write_pki
from tests.cluster.spaces import Spaces, run
from tre_orchestrator.errors import TreError, Unavailable

_PLUGINS = Path("/usr/lib/cni")
_API = f"https://{NODE}:6443"


class Node:
    """The daemons of one cluster, and how to talk to them."""

    def __init__(self, spaces: Spaces, programs: Path, cni: str) -> None:
        self._spaces, self._programs, self._cni = spaces, programs, cni
        self._pki = spaces.folder / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The admin's. Its server is reached from the node's network only."""
        return self._pki / "admin.conf"

    @property
    def kubectl_command(self) -> list[str]:
        """The command line that runs kubectl on the node, as an admin."""
        return self._spaces.enter(str(self._programs / "kubectl"), f"--kubeconfig={self.kubeconfig}")

    def start(self, images: list[Image], say: Callable[[str], None]) -> None:
        """Start everything; returns when pods can be created."""
        addresses = ("127.0.0.1", NODE, NODE_6, API_SERVICE)
        write_pki(self._pki, _API, [ipaddress.ip_address(address) for address in addresses])
        write_settings(self._spaces, self._programs, self._pki, self._cni)
        self._install_plugins()
        self._start_containerd()
        self._start_api()
        self._wait("containerd", lambda: self._ctr("version"))
        for one in images:
            self._spaces.start(f"image-{one.name}", *self._ctr_command("images", "import", str(one.archive)))
        self._wait("apiserver", lambda: self._kubectl("get", "--raw", "/readyz"))
        say("The API server answers")
        self._start_controllers()
        self._start_kubelet()
        if self._cni == "cilium":
            self._start_cilium()
            self._wait("cilium", lambda: self._spaces.run("test", "-S", "/run/cilium/cilium.sock"))
            # The mark by which Cilium knows the node itself: with its own iptables rules off nothing else sets it, and
            # the node's packets, kubelet's probes among them, would be dropped like a stranger's.
            for iptables in ("iptables", "ip6tables"):
                self._spaces.run(iptables, "-t", "mangle", "-A", "OUTPUT", "-j", "MARK", "--set-xmark", "0xc00/0xf00")
            say("Cilium has compiled its data path")
        self._wait("images", lambda: all(f"image-{one.name}" in self._spaces.ended() for one in images))
        self._wait("kubelet", lambda: self._kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=30s"))
        self._wait("controller-manager", lambda: self._kubectl("get", "serviceaccount", "default"))

    def _install_plugins(self) -> None:
        plugins = self._spaces.folder / "plugins"
        plugins.mkdir()
        wanted = {"cilium": [self._programs / "cilium-cni"], "bridge": [_PLUGINS / "bridge", _PLUGINS / "host-local"]}
        for plugin in (_PLUGINS / "loopback", *wanted[self._cni]):
            shutil.copy(plugin, plugins)

    def _start_containerd(self) -> None:
        settings = str(self._spaces.folder / "containerd.toml")
        path = f"{self._programs}:{os.environ['PATH']}"
        self._spaces.start("containerd", str(self._programs / "containerd"), "-c", settings, PATH=path)

    def _start_api(self) -> None:
        folder, pki = self._spaces.folder, self._pki
        self._spaces.start("etcd", "etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync")
        self._kubernetes(
            "apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--service-cluster-ip-range={SERVICES},{SERVICES_6}",
            f"--advertise-address={NODE}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",  # else exec and logs look the node's name up in DNS
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
        )

    def _start_controllers(self) -> None:
        pki = self._pki
        self._kubernetes(
            "controller-manager",
            f"--kubeconfig={pki}/controller-manager.conf",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials",
            "--allocate-node-cidrs",
            f"--cluster-cidr={PODS},{PODS_6}",
            f"--service-cluster-ip-range={SERVICES},{SERVICES_6}",
            "--leader-elect=false",
        )
        self._kubernetes("scheduler", f"--kubeconfig={pki}/scheduler.conf", "--leader-elect=false")
        self._kubernetes(
            "proxy",
            f"--kubeconfig={pki}/proxy.conf",
            "--proxy-mode=nftables",
            f"--cluster-cidr={PODS},{PODS_6}",
            "--hostname-override=node1",
            # The conntrack settings belong to the host and cannot be written from here.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )

    def _start_kubelet(self) -> None:
        folder = self._spaces.folder
        self._spaces.start(
            "kubelet",
            str(self._programs / "kubelet"),
            f"--config={folder}/kubelet.yaml",
            f"--kubeconfig={self._pki}/kubelet.conf",
            "--hostname-override=node1",
            f"--node-ip={NODE},{NODE_6}",
            f"--root-dir={folder}/kubelet",
        )

    def _start_cilium(self) -> None:
        folder, programs = self._spaces.folder, self._programs
        for name in ("clang", "llc"):
            (folder / "bin" / name).symlink_to(_compiler(name))
        kubeconfig = f"--k8s-kubeconfig-path={self._pki}/cilium.conf"
        self._spaces.start(
            "cilium-operator",
            str(programs / "operator"),
            kubeconfig,
            "--ipam=kubernetes",
            "--enable-ipv6=true",
            "--identity-allocation-mode=crd",
            "--unmanaged-pod-watcher-interval=0",
            "--operator-api-serve-addr=127.0.0.1:9234",
            CILIUM_K8S_NAMESPACE="kube-system",
        )
        self._spaces.start(
            "cilium",
            *("unshare", "--mount", "--propagation", "slave", "sh", "-c", WITH_PROC_MODULES, "cilium"),
            str(programs / "daemon"),
            kubeconfig,
            "--enable-ipv4=true",
            "--enable-ipv6=true",
            "--ipam=kubernetes",
            "--routing-mode=native",
            f"--ipv4-native-routing-cidr={PODS}",
            f"--ipv6-native-routing-cidr={PODS_6}",
            "--kube-proxy-replacement=false",
            "--enable-l7-proxy=false",
            "--enable-hubble=false",
            "--enable-ipv4-masquerade=false",
            "--enable-ipv6-masquerade=false",
            "--identity-allocation-mode=crd",
            "--enable-health-checking=false",
            "--enable-endpoint-health-checking=false",
            "--install-iptables-rules=false",
            "--devices=up0",
            "--cgroup-root=/run/cilium/cgroup",
            f"--lib-dir={programs}",
            "--cni-exclusive=false",
            "--agent-health-port=9879",
            K8S_NODE_NAME="node1",
            CILIUM_K8S_NAMESPACE="kube-system",
            PATH=f"{folder}/bin:{os.environ['PATH']}",
        )

    def _kubernetes(self, name: str, *arguments: str) -> None:
        self._spaces.start(name, str(self._programs / f"kube-{name}"), *arguments)

    def _ctr_command(self, *arguments: str) -> list[str]:
        return [str(self._programs / "ctr"), "-a", CONTAINERD_SOCKET, "-n", "k8s.io", *arguments]

    def _ctr(self, *arguments: str) -> str:
        return self._spaces.run(*self._ctr_command(*arguments))

    def _wait(self, name: str, answered: Callable[[], object]) -> None:
        """Until `answered` is not false and does not raise; `Unavailable` with the last words of a daemon that ends."""
        until = time.monotonic() + 90
        while True:
            with suppress(TreError):
                if answered() is not False:
                    return
            for each, code in self._spaces.ended().items():
                if code or not each.startswith("image-"):
                    words = self._spaces.last_words(each)
                    raise Unavailable("cluster-daemon", f"{each} ended while the cluster started ({code}): {words}")
            if time.monotonic() > until:
                raise Unavailable(
                    "cluster-daemon", f"{name} did not get ready in 90 s; the last words of all: {self._logs()}"
                )
            time.sleep(0.2)

    def _kubectl(self, *arguments: str) -> None:
        run([*self.kubectl_command, *arguments])

    def _logs(self) -> str:
        names = sorted(path.stem for path in (self._spaces.folder / "log").glob("*.log"))
        return "".join(f"\n{name}: {self._spaces.last_words(name)}" for name in names)


def _compiler(program: str) -> Path:
    """Debian's clang and llc carry their version in their name; Cilium 1.15 was tried with 16."""
    for version in ("-16", "-17", "-15", "-14", ""):
        if found := shutil.which(f"{program}{version}"):
            return Path(found)
    raise Unavailable("cluster-clang", f"There is no {program}: run `make cluster-build`, which installs it.")
