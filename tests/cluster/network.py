"""The node's network, and the outside it is joined to. Both exist only in this cluster; nothing of the host takes part.

The outside is all that a pod could reach beyond the node: `Outside.arrivals` tells what did arrive there.
"""

from __future__ import annotations

import ipaddress
import json
import time
from dataclasses import dataclass
from typing import Any

from tests.cluster import outside_server
from tests.cluster.spaces import Spaces
from tre_orchestrator.errors import Unavailable

NODE, GATEWAY = "10.99.0.2", "10.99.0.1"
NODE_6, GATEWAY_6 = "fd00:10:99::2", "fd00:10:99::1"
PODS, PODS_6 = "10.244.0.0/16", "fd00:10:244::/56"
SERVICES, SERVICES_6 = "10.96.0.0/16", "fd00:10:96::/112"
API_SERVICE = "10.96.0.1"


@dataclass(frozen=True, slots=True)
class Packet:
    """Something that arrived outside. `port` is the destination's, 0 where the protocol has none."""

    sender: str
    to: str
    protocol: str
    port: int


class Outside:
    """The Internet, DNS and the metadata service, as seen by this cluster's pods."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._record = spaces.folder / "outside.jsonl"

    def arrivals(self, *senders: str) -> list[Packet]:
        """Every packet from these addresses so far; without any, from all pods.

        One packet of our own is sent after them and waited for: what is not in the record by then did not arrive.
        """
        used = {line["port"] for line in self._lines() if line.get("from") == NODE}
        mark = next(port for port in range(40_000, 60_000) if port not in used)
        _send(self._spaces, outside_server.INTERNET, mark)
        self._wait_for({"from": NODE, "to": outside_server.INTERNET, "protocol": "udp", "port": mark})
        pods = (ipaddress.ip_network(PODS), ipaddress.ip_network(PODS_6))

        def is_asked(sender: str) -> bool:
            address = ipaddress.ip_address(sender)
            return sender in senders if senders else any(address in network for network in pods)

        return [
            Packet(line["from"], line["to"], line["protocol"], line["port"])
            for line in self._lines()
            if "from" in line and is_asked(line["from"])
        ]

    def start(self) -> None:
        """Lay the node's network and the outside's, join them, and wait until the outside listens."""
        self._spaces.run("ip", "-batch", "-", text=_NODE_LINKS)
        self._spaces.run("ip", "-n", "outside", "-batch", "-", text=_OUTSIDE_LINKS)
        self._spaces.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        server = ("/usr/bin/python3", "-I", outside_server.__file__, str(self._record))
        self._record.touch()
        self._spaces.start("outside", "ip", "netns", "exec", "outside", *server)
        self._wait_for({"listening": True})

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._record.read_text(encoding="utf-8").split("\n")[:-1]]

    def _wait_for(self, line: dict[str, Any]) -> None:
        until = time.monotonic() + 10
        while line not in self._lines():
            if time.monotonic() > until:
                raise Unavailable("cluster-outside", f"The outside did not record {line}: see outside.log.")
            time.sleep(0.02)


def _send(spaces: Spaces, address: str, port: int) -> None:
    program = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', (sys.argv[1], int(sys.argv[2])))"
    spaces.run("/usr/bin/python3", "-I", "-c", program, address, str(port))


_NODE_LINKS = f"""
netns add outside
link set lo up
link add up0 type veth peer name {outside_server.INTERFACE} netns outside
link set up0 up
addr add {NODE}/24 dev up0
addr add {NODE_6}/64 dev up0 nodad
route add default via {GATEWAY}
route add default via {GATEWAY_6}
"""

_OUTSIDE_LINKS = "\n".join(
    [
        "link set lo up",
        f"link set {outside_server.INTERFACE} up",
        f"addr add {GATEWAY}/24 dev {outside_server.INTERFACE}",
        f"addr add {GATEWAY_6}/64 dev {outside_server.INTERFACE} nodad",
        *(f"addr add {address} dev lo nodad" for address in outside_server.ADDRESSES),
        f"route add {PODS} via {NODE}",
        f"route add {PODS_6} via {NODE_6}",
        "",
    ]
)
