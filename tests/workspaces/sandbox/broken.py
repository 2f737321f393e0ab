"""A supervisor whose lock was broken on purpose: TRE_TEST_BREAK names what is wrong with bwrap's arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from tre_orchestrator.workspaces.sandbox.arguments import Jail, arguments
from tre_orchestrator.workspaces.sandbox.options import parse
from tre_orchestrator.workspaces.sandbox.supervisor import run


def without(*words: str) -> Callable[[list[str]], list[str]]:
    """Leave out this run of arguments."""

    def change(given: list[str]) -> list[str]:
        for at in range(len(given)):
            if given[at : at + len(words)] == list(words):
                return given[:at] + given[at + len(words) :]
        raise AssertionError(f"{words} is not among the arguments")

    return change


def no_filter(given: list[str]) -> list[str]:
    at = given.index("--seccomp")
    return given[:at] + given[at + 2 :]


def writable_datasets(given: list[str]) -> list[str]:
    changed = list(given)
    for at, word in enumerate(given):
        if word.startswith("/data/"):
            assert changed[at - 2] == "--ro-bind"
            changed[at - 2] = "--bind"
    return changed


def also(*words: str) -> Callable[[list[str]], list[str]]:
    """Add arguments before the root is made read-only."""

    def change(given: list[str]) -> list[str]:
        at = given.index("--chdir")
        return [*given[:at], *words, *given[at:]]

    return change


BREAKS: dict[str, Callable[[list[str]], list[str]]] = {
    "network": without("--unshare-net"),
    "processes": without("--unshare-pid"),
    "ipc": without("--unshare-ipc"),
    "filter": no_filter,
    "root": without("--remount-ro", "/"),
    "capabilities": also("--cap-add", "ALL"),
    "host files": also("--ro-bind", "/var", "/var"),
    "sys": also("--ro-bind", "/sys", "/sys"),
    "datasets": writable_datasets,
}


def build(jail: Jail) -> list[str]:
    return BREAKS[os.environ["TRE_TEST_BREAK"]](arguments(jail))


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:]), build))
