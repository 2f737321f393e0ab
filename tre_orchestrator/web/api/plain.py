"""Views as JSON: dataclasses become objects, moments ISO 8601 in UTC, enums their values. Nothing is left out or added,
so what a view does not hold (because its viewer may not see it) is not in the answer either.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse


def plain(value: Any) -> Any:
    """The JSON form of a view."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat()
        case dt.date():
            return value.isoformat()
        case PurePath():
            return str(value)
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True)
        case Mapping():
            return {str(plain(key)): plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} has no JSON form here")


def reply(value: Any, status: int = 200) -> JSONResponse:
    """An answer with the JSON form of a view."""
    return JSONResponse(plain(value), status_code=status)
