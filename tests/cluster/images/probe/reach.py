#!/usr/bin/python3 -IB
"""Says what can be reached from here: `reach [--times N] [--pause S] [--timeout S] NAME=tcp|dns:ADDRESS:PORT ...`.

Prints one JSON object: for every name how many attempts were open, refused (something answered: packets got there)
or closed (silence, no route). A new attempt at every target starts after each pause, whether or not earlier ones have
ended. `reach --listen PORT` accepts connections until it is ended.
"""

import argparse
import errno
import json
import select
import socket
import time

QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07outside\x04test\x00\x00\x01\x00\x01"
"""What is the address of outside.test? Source: RFC 1035, 4.1."""


class Attempt:
    """One connection on its way. `outcome` is None until something is known."""

    def __init__(self, name, kind, address, until):
        self.name, self.kind, self.until, self.outcome = name, kind, until, None
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        error = self.socket.connect_ex(address)
        if error not in (0, errno.EINPROGRESS):
            self.outcome = outcome(error)
        elif kind == "dns":
            try:
                self.socket.send(QUESTION)
            except OSError as failure:
                self.outcome = outcome(failure.errno)

    @property
    def events(self):
        return select.POLLOUT if self.kind == "tcp" else select.POLLIN

    def look(self):
        """The socket has something to say."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.outcome = outcome(error)


def outcome(error):
    return {0: "open", errno.ECONNREFUSED: "refused", errno.ECONNRESET: "refused"}.get(error, "closed")


def attempts(targets, times, pause, timeout):
    """Try every target `times` times and count the outcomes."""
    counts = {name: {"open": 0, "refused": 0, "closed": 0} for name, _, _ in targets}
    running, due = {}, time.monotonic()
    poll = select.poll()
    while times or running:
        now = time.monotonic()
        if times and now >= due:
            times, due = times - 1, due + pause
            for name, kind, address in targets:
                new = Attempt(name, kind, address, now + timeout)
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


def listen(port):
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256) as server:
        while True:
            server.accept()[0].close()


def target(words):
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
    parser.add_argument("targets", nargs="*", type=target)
    asked = parser.parse_args()
    if asked.listen:
        listen(asked.listen)
    print(json.dumps(attempts(asked.targets, asked.times, asked.pause, asked.timeout)), flush=True)
