"""Names and ids that must not be mixed, and the one rule every catalogue name follows.

Guarantee: a valid name is safe as a JupyterHub server name, a DNS label and a folder name, and two different
names never become the same one after any of these uses.
"""

from __future__ import annotations

import re
from typing import Annotated, NewType

from pydantic import StringConstraints

ProjectName = NewType("ProjectName", str)
DatasetName = NewType("DatasetName", str)
PersonId = NewType("PersonId", str)
OrganisationName = NewType("OrganisationName", str)
WorkspaceId = NewType("WorkspaceId", str)
Sha256 = NewType("Sha256", str)

NAME_PATTERN = r"^[a-z](?:-?[a-z0-9])*$"
"""A letter first; lower case, digits, single hyphens; no hyphen at the end (JupyterHub 6 server names, RFC 1123)."""
NAME_MAX = 30
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_MAX)]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
VersionLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[.-]?[a-z0-9])*$", max_length=30)]

_NAME = re.compile(NAME_PATTERN)


def is_name(text: str) -> bool:
    """Whether `text` may name a project, dataset, person, organisation or policy profile."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None
