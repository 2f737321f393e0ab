from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.governance.build import project
from tre_orchestrator.catalogue import models
from tre_orchestrator.catalogue.canonical import canonical, sha256_of
from tre_orchestrator.catalogue.digest import changes, policy_digest, project_digest
from tre_orchestrator.catalogue.models import Project, TierPolicy, explicit_fields
from tre_orchestrator.catalogue.schema import catalogue_schema, kind_schema
from tre_orchestrator.errors import Invalid

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé€😀", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_canonical_bytes_are_json_and_mean_the_same(value: object) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_keys_are_sorted_by_utf16_as_rfc_8785_has_it() -> None:
    value = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew", "1": "One", "\U0001f600": "Smile"}
    assert list(json.loads(canonical(value))) == ["\r", "1", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [float("nan"), 1.5, 2**53, {1: "a"}, b"bytes", {"a": {1, 2}}, "\ud800"])
def test_a_value_without_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_the_digest_of_a_project_is_fixed_for_good() -> None:
    """A changed digest would lock every approved project; a new form of it needs a new digest version."""
    assert project_digest(project()) == "b586792acd24108251efdeed7129c214712b59d6f2ae85d64a5c416c60a35bea"


def test_a_default_that_a_later_version_adds_changes_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    class LaterSpec(models.ProjectSpec):
        review_board: str = "none"

    class LaterProject(models.Project):
        spec: LaterSpec

    later = LaterProject.model_validate(explicit_fields(project()))
    assert later.spec.review_board == "none"
    assert project_digest(later) == project_digest(project())


def test_every_edit_of_a_project_changes_its_digest_and_is_named() -> None:
    edits = {
        "title": "Other",
        "summary": "Other",
        "purpose": "Other",
        "tier": 2,
        "profile": "other",
        "members": [{"person": "ben-okafor"}],
        "datasets": [],
        "start": "2025-06-01",
        "end": "2030-01-01",
        "environment": "python",
    }
    assert set(edits) == set(models.ProjectSpec.model_fields), "a field of a project is not covered here"
    for field, value in edits.items():
        edited = project(**{field: value})
        assert project_digest(edited) != project_digest(project()), field
        assert [change.field for change in changes(project(), edited)] == [field]
    (change,) = changes(project(), project(tier=2))
    assert (change.field, change.before, change.after) == ("tier", 1, 2)


def test_a_digest_survives_storage() -> None:
    stored = Project.model_validate(json.loads(json.dumps(explicit_fields(project()))))
    assert project_digest(stored) == project_digest(project())


def test_the_controls_of_a_tier_are_digested_but_not_its_machine_limits() -> None:
    strict = TierPolicy(quorum=3)
    roomy = TierPolicy.model_validate({"quorum": 3, "limits": {"memory_mib": 9000}})
    assert policy_digest(strict) == policy_digest(roomy) != policy_digest(TierPolicy(quorum=2))


def test_schemas_come_from_the_models() -> None:
    assert {option["$ref"].rpartition("/")[2] for option in catalogue_schema()["oneOf"]} == set(models.KINDS)
    assert kind_schema("Project")["$defs"]["ProjectSpec"]["additionalProperties"] is False
    with pytest.raises(Invalid, match="no kind"):
        kind_schema("Banana")


def test_equal_values_have_equal_digests_whatever_the_order_of_keys() -> None:
    assert sha256_of({"a": 1, "b": [2]}) == sha256_of({"b": [2], "a": 1})
