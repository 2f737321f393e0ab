"""The catalogue's JSON Schemas (2020-12), made from the models that also read the YAML, so they cannot disagree."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from tre_orchestrator.catalogue.models import KINDS, CatalogueObject
from tre_orchestrator.errors import Invalid

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def catalogue_schema() -> dict[str, Any]:
    """One schema for a document of any kind, for editors that check while you type."""
    schema = TypeAdapter(CatalogueObject).json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "title": "TRE catalogue object", **schema}


def kind_schema(kind: str) -> dict[str, Any]:
    """The schema of one kind; raises `Invalid` for a word that is none."""
    if kind not in KINDS:
        raise Invalid("kind", f"'{kind}' is no kind. Choose one of {', '.join(KINDS)}.")
    return {"$schema": DIALECT, **KINDS[kind].model_json_schema(by_alias=True, mode="validation")}
