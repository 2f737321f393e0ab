"""Plays the Internet, DNS and the metadata service, and records every packet that arrives: `outside_server RECORD`.

Runs in a network namespace of its own that is joined to the node by `out0`. The record holds a line for each packet,
whatever it is: also one to an address or a port where nobody listens.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import sys
from typing import TextIO

INTERNET, DNS, METADATA = "203.0.113.10", "203.0.113.53", "169.254.169.254"
INTERNET_6, METADATA_6 = "2001:db8::10", "fd00:ec2::254"
ADDRESSES = (INTERNET, DNS, METADATA, INTERNET_6, METADATA_6)
INTERFACE = "out0"

WEB = ((INTERNET, 80), (INTERNET, 443), (METADATA, 80), (INTERNET_6, 80), (INTERNET_6, 443), (METADATA_6, 80))
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
_ETH_P_ALL, _IPV4, _IPV6 = 3, 0x0800, 0x86DD


async def serve(record: TextIO) -> None:
    """Listen everywhere, then say so in the record; until the process is ended."""
    loop = asyncio.get_running_loop()
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    packets.bind((INTERFACE, _ETH_P_ALL))
    packets.setblocking(False)
    loop.add_reader(packets, _note, packets, record)
    for address, port in WEB:
        await asyncio.start_server(_answer_web, address, port)
    await asyncio.start_server(_answer_dns_stream, DNS, 53)
    await loop.create_datagram_endpoint(_Dns, local_addr=(DNS, 53))
    _write(record, {"listening": True})
    await asyncio.Event().wait()


def _note(packets: socket.socket, record: TextIO) -> None:
    data, (_, kind, direction, *_) = packets.recvfrom(256)
    packet = _read(kind, data)
    if packet and direction != socket.PACKET_OUTGOING:
        _write(record, packet)


def _read(kind: int, data: bytes) -> dict[str, object] | None:
    """Who sent what to whom. None for what is no IP packet, ARP for instance. Source: RFC 791, RFC 8200."""
    if kind == _IPV4:
        protocol, start, at, size = data[9], (data[0] & 15) * 4, 12, 4
    elif kind == _IPV6:
        protocol, start, at, size = data[6], 40, 8, 16
    else:
        return None
    sender, to = (str(ipaddress.ip_address(data[at + n : at + n + size])) for n in (0, size))
    name = _PROTOCOLS.get(protocol, str(protocol))
    port = int.from_bytes(data[start + 2 : start + 4], "big") if name in ("tcp", "udp") else 0
    return {"from": sender, "to": to, "protocol": name, "port": port}


def _write(record: TextIO, line: dict[str, object]) -> None:
    record.write(json.dumps(line) + "\n")
    record.flush()


async def _answer_web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.wait_for(reader.read(4096), 5)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\noutside\n")
        await writer.drain()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.close()


async def _answer_dns_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        question = await asyncio.wait_for(reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")), 5)
        answer = _answer(question)
        writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class _Dns(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(_answer(data), addr)


def _answer(question: bytes) -> bytes:
    """Every name is at INTERNET: the question again, and one A record that points back to it. RFC 1035, 4.1."""
    record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + ipaddress.ip_address(INTERNET).packed
    return question[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question[12:] + record


if __name__ == "__main__":
    with open(sys.argv[1], "a", encoding="utf-8") as file:
        asyncio.run(serve(file))
