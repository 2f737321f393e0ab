"""A release as a Five Safes RO-Crate (https://w3id.org/5s-crate/0.4, RO-Crate 1.1): what was asked, checked, approved.

Reviewers are counted, never named. Only values that the attestation also holds, the author's words about the request,
and the files' own properties appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tre_orchestrator.ledger.canonical import Json

if TYPE_CHECKING:
    from tre_orchestrator.airlock.bundle import Approved, ReleasedFile

_CRATE = "https://w3id.org/ro/crate/1.1"
_FIVE_SAFES = "https://w3id.org/5s-crate/0.4"
_SHP = "https://w3id.org/shp#"
_DONE = "http://schema.org/CompletedActionStatus"


def crate(approved: Approved) -> dict[str, Json]:
    """The metadata document of the release."""
    root: dict[str, Json] = {
        "@id": "./",
        "@type": "Dataset",
        "name": approved.title,
        "description": approved.purpose,
        "datePublished": approved.approved_at,
        "license": {"@id": "#licence"},
        "conformsTo": {"@id": _FIVE_SAFES},
        "hasPart": [{"@id": _id(file)} for file in approved.files],
        "sourceOrganization": {"@id": f"#project-{approved.project}"},
        "mentions": [{"@id": "#disclosure-check"}, {"@id": "#sign-off"}],
        "identifier": f"request/{approved.project}/{approved.request}",
    }
    graph: list[Json] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _CRATE},
        },
        root,
        {
            "@id": _FIVE_SAFES,
            "@type": "Profile",
            "name": "Five Safes RO-Crate profile",
        },
        {
            "@id": "#licence",
            "@type": "CreativeWork",
            "name": "As agreed with the data controllers",
        },
        {"@id": f"#project-{approved.project}", "@type": "Project", "name": approved.project_title},
        {"@id": f"#person-{approved.requested_by}", "@type": "Person", "name": approved.requested_by},
        {"@id": "#tre", "@type": "SoftwareApplication", "name": "TRE orchestrator airlock"},
        _check(approved),
        _sign_off(approved),
    ]
    graph.extend(_file(file) for file in approved.files)
    graph.extend(_dataset(dataset) for dataset in approved.datasets)
    return {"@context": f"{_CRATE}/context", "@graph": graph}


def _check(approved: Approved) -> dict[str, Json]:
    names = ", ".join(f"{check['name']} {check['version']}" for check in approved.checks)
    return {
        "@id": "#disclosure-check",
        "@type": "AssessAction",
        "additionalType": {"@id": f"{_SHP}DisclosureCheck"},
        "name": "Automatic disclosure checks",
        "description": names,
        "agent": {"@id": "#tre"},
        "object": [{"@id": _id(file)} for file in approved.files],
        "actionStatus": _DONE,
        "endTime": approved.approved_at,
    }


def _sign_off(approved: Approved) -> dict[str, Json]:
    given, policy = approved.approvals["given"], approved.policy
    return {
        "@id": "#sign-off",
        "@type": "AssessAction",
        "additionalType": {"@id": f"{_SHP}SignOff"},
        "name": "Approval by output checkers",
        "description": f"{given} people approved every file independently, under policy {policy['profile']} "
        f"version {policy['version']}, tier {approved.tier}.",
        "agent": {"@id": "#tre"},
        "object": {"@id": "./"},
        "instrument": [{"@id": _dataset_id(dataset)} for dataset in approved.datasets],
        "actionStatus": _DONE,
        "endTime": approved.approved_at,
    }


def _file(file: ReleasedFile) -> dict[str, Json]:
    return {
        "@id": _id(file),
        "@type": "File",
        "name": file.path,
        "contentSize": str(file.size),
        "encodingFormat": file.kind,
        "sha256": file.sha256,
        "description": file.statistic,
    }


def _dataset(dataset: dict[str, Json]) -> dict[str, Json]:
    return {
        "@id": _dataset_id(dataset),
        "@type": "Dataset",
        "name": dataset["name"],
        "version": dataset["version"],
        "identifier": dataset["manifest"],
    }


def _dataset_id(dataset: dict[str, Json]) -> str:
    return f"#dataset-{dataset['name']}"


def _id(file: ReleasedFile) -> str:
    return "files/" + quote(file.path)
