"""`python -m tests.cluster.build [programs|images]` builds what the cluster is made of, into the cache."""

from __future__ import annotations

import sys
import time

from tests.cluster.image_build import build_images
from tests.cluster.program_build import build_programs
from tre_orchestrator.errors import TreError


def main(parts: list[str]) -> int:
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {words}", flush=True)

    try:
        if not parts or "programs" in parts:
            say(f"Programs are in {build_programs(say)}")
        if not parts or "images" in parts:
            for one in build_images(say):
                say(f"{one.reference} is in {one.archive}")
    except TreError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
