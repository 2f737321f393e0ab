#!/usr/bin/python3 -IB
"""Says what can be reached from here: `reach [--times N] [--pause S] [--timeout S] NAME=tcp|dns:ADDRESS:PORT ...`.

Prints one JSON object: for every name how many attempts were open, refused (something answered: packets got there)
or closed (silence, no route). A new attempt at every target starts after each pause, whether or not earlier ones have
ended. `reach --listen PORT` accepts connections until it is ended.
"""

import argparse
import errno
import json
import resource
import select
import socket
import time
from typing import NoReturn

Target = tuple[str, str, tuple[str, int]]
"""A name, tcp or dns, and an address with its port."""

QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07outside\x04test\x00\x00\x01\x00\x01"
"""What is the address of outside.test? RFC 1035, 4.1."""


class Attempt:
    """One connection on its way. `outcome` is empty until something is known."""

    def __init__(self, target: Target, until: float) -> None:
        self.name, kind, address = target
        self.until = until
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.events = select.POLLOUT if kind == "tcp" else select.POLLIN
        error = self.socket.connect_ex(address)
        self.outcome = "" if error in (0, errno.EINPROGRESS) else outcome(error)
        if kind == "dns" and not self.outcome:
            try:
                self.socket.send(QUESTION)
            except OSError as failure:
                self.outcome = outcome(failure.errno or 0)

    def look(self) -> None:
        """The socket has something to say."""
        self.outcome = outcome(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def outcome(error: int) -> str:
    """What the end of an attempt means."""
    return {0: "open", errno.ECONNREFUSED: "refused", errno.ECONNRESET: "refused"}.get(error, "closed")


def attempts(targets: list[Target], times: int, pause: float, timeout: float) -> dict[str, dict[str, int]]:
    """Try every target `times` times and count the outcomes."""
    counts = {name: {"open": 0, "refused": 0, "closed": 0} for name, _, _ in targets}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every attempt on its way is an open file
    running: dict[int, Attempt] = {}
    poll = select.poll()
    due = time.monotonic()
    while times or running:
        now = time.monotonic()
        if times and now >= due:
            times, due = times - 1, due + pause
            for target in targets:
                new = Attempt(target, now + timeout)
                running[new.socket.fileno()] = new
                poll.register(new.socket, new.events)
        for descriptor, _ in poll.poll(5):
            running[descriptor].look()
        for descriptor, one in list(running.items()):
            if one.outcome or time.monotonic() >= one.until:
                counts[one.name][one.outcome or "closed"] += 1
                poll.unregister(descriptor)
                one.socket.close()
                del running[descriptor]
    return counts


def listen(port: int) -> NoReturn:
    """Accept connections on both families, for ever."""
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256) as server:
        while True:
            server.accept()[0].close()


def parsed(words: str) -> Target:
    """`name=kind:address:port`; an IPv6 address stands in brackets."""
    name, _, rest = words.partition("=")
    kind, _, address = rest.partition(":")
    host, _, port = address.rpartition(":")
    return name, kind, (host.strip("[]"), int(port))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.01)
    parser.add_argument("--timeout", type=float, default=2.0)
    parser.add_argument("--listen", type=int)
    parser.add_argument("targets", nargs="*", type=parsed)
    asked = parser.parse_args()
    if asked.listen:
        listen(asked.listen)
    print(json.dumps(attempts(asked.targets, asked.times, asked.pause, asked.timeout)), flush=True)
