"""What a locked workspace must not reach (N1), as addresses of one cluster. `reach` tries them, by these names."""

from __future__ import annotations

import json

from tests.cluster import outside_server as out
from tests.cluster.cluster import Kubernetes

OUTSIDE = {
    "internet": f"tcp:{out.INTERNET}:80",
    "internet-tls": f"tcp:{out.INTERNET}:443",
    "internet-ipv6": f"tcp:[{out.INTERNET_6}]:443",
    "metadata": f"tcp:{out.METADATA}:80",
    "metadata-ipv6": f"tcp:[{out.METADATA_6}]:80",
    "dns": f"dns:{out.DNS}:53",
    "dns-tcp": f"tcp:{out.DNS}:53",
}
"""Beyond the node; only our own cluster has these."""


def inside(cluster: Kubernetes, pod_addresses: list[str]) -> dict[str, str]:
    """In the cluster: the API server by its service and by its own address, every node's kubelet, another pod."""
    service = json.loads(cluster.kubectl("get", "service", "kubernetes", "-n", "default", "-o", "json"))["spec"]
    slices = ("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes", "-o", "json")
    targets = {f"service-{address}": f"tcp:{_host(address)}:443" for address in service["clusterIPs"]}
    for each in json.loads(cluster.kubectl("get", *slices))["items"]:
        addresses = [address for endpoint in each["endpoints"] for address in endpoint["addresses"]]
        port = each["ports"][0]["port"]
        targets |= {f"api-server-{address}": f"tcp:{_host(address)}:{port}" for address in addresses}
    for node in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]:
        addresses = [entry["address"] for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]
        targets |= {f"kubelet-{address}": f"tcp:{_host(address)}:10250" for address in addresses}
    return targets | {f"pod-{address}": f"tcp:{_host(address)}:8080" for address in pod_addresses}


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
