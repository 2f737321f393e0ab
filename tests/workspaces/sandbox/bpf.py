"""An interpreter of the classic BPF that seccomp runs (filter.rst): the kernel's verdict without the kernel."""

from __future__ import annotations

import struct

LD_ABS, AND, JEQ, JGE, JSET, RET = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the filter returns for one system call. Raises ValueError for a program that the kernel would not load."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *[value & (2**64 - 1) for value in values])
    instructions = list(struct.iter_unpack("<HBBI", program))
    if not 0 < len(instructions) <= 4096:
        raise ValueError("length")
    accumulator = at = 0
    while at < len(instructions):
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == LD_ABS:
            if value % 4 or value > len(data) - 4:
                raise ValueError("load")
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == AND:
            accumulator &= value
        elif code in (JEQ, JGE, JSET):
            taken = {JEQ: accumulator == value, JGE: accumulator >= value, JSET: bool(accumulator & value)}[code]
            at += if_true if taken else if_false
        elif code == RET:
            return int(value)
        else:
            raise ValueError(f"instruction {code:#x}")
    raise ValueError("the program ran off its end")


def loads(program: bytes) -> bool:
    """Every jump stays inside the program and the last instruction returns, as the kernel checks before loading."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    for at, (code, if_true, if_false, _) in enumerate(instructions):
        if code in (JEQ, JGE, JSET) and at + 1 + max(if_true, if_false) >= len(instructions):
            return False
    return instructions[-1][0] == RET
