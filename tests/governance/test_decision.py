"""The decision as a table, and its law: taking a condition away never opens anything."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from tests.governance.build import ANA, ERIN, GRACE, LUNGS, TRUST, codes, dataset, person, profile, project
from tre_orchestrator.catalogue.digest import Version, controls, project_digest, version_of
from tre_orchestrator.catalogue.models import Access, Role
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName, PersonId, Sha256
from tre_orchestrator.governance.decision import decide, is_live, why_project_not_ready
from tre_orchestrator.governance.model import Approval, Facts, Grant, Hold, Manifest

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HASH = Sha256("ab" * 32)


def approval(
    facts_project: Any = None, *, role: Role = Role.approver, approved: bool = True, tier: str = "1"
) -> Approval:
    declared = facts_project or project()
    policy = profile().spec.policy(int(tier))
    assert policy is not None
    return Approval(
        role=role,
        person=GRACE,
        version=version_of(declared, policy),
        approved=approved,
        at=NOW - 10 * DAY,
        reason="" if approved else "no",
        document=declared,
        controls=controls(policy),
    )


def a_grant(**changes: Any) -> Grant:
    given = Grant("1", LUNGS, "1.0", HASH, "heart", HASH, TRUST, dt.date(2027, 6, 30), 0, "", ERIN, NOW - 5 * DAY)
    return replace(given, **changes)


def facts(**changes: Any) -> Facts:
    """Everything that Ana needs to work in `heart` on `lungs`."""
    given = Facts(
        project=project(),
        profile=profile(),
        approvals=(approval(),),
        datasets=(dataset(),),
        manifests=(Manifest(LUNGS, "1.0", "data/lungs/1.0", HASH),),
        grants=(a_grant(),),
        holds=(),
        person_id=ANA,
        person=person("ana-silva", "analyst"),
        mfa=False,
        state_dir=Path("/srv/tre"),
    )
    return replace(given, **changes)


def test_everything_in_place_allows_and_says_what_and_until_when() -> None:
    decision = decide(facts(), NOW)
    assert decision.allowed
    assert decision.refusals == ()
    (mountable,) = decision.datasets
    assert (mountable.name, mountable.version, mountable.manifest) == (LUNGS, "1.0", HASH)
    assert mountable.folder == Path("/srv/tre/data/lungs/1.0")
    assert decision.until == dt.datetime(2027, 7, 1, tzinfo=dt.UTC)
    assert decision.ends_because == "trust's grant of 'lungs' ends"
    assert decision.digest == project_digest(project())


def edited(**changes: Any) -> dict[str, Any]:
    """An edited project whose edit was approved."""
    declared = project(**changes)
    return {"project": declared, "approvals": (approval(declared),)}


TABLE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("the project begins later", edited(start="2026-11-24"), ["project-not-started"]),
    ("the project ended yesterday", edited(end="2026-11-22"), ["project-ended"]),
    ("the profile is gone", {"profile": None}, ["no-policy", "mfa-needed"]),
    ("the profile lost the tier", edited(tier=4), ["no-policy", "mfa-needed"]),
    ("nobody approved", {"approvals": ()}, ["approval-missing"]),
    ("the approver refused", {"approvals": (approval(approved=False),)}, ["approval-refused"]),
    (
        "refused after it was approved",
        {"approvals": (approval(), replace(approval(approved=False), at=NOW))},
        ["approval-refused"],
    ),
    (
        "approved after it was refused",
        {"approvals": (approval(approved=False), replace(approval(), at=NOW))},
        [],
    ),
    (
        "approved by a role that the tier does not ask",
        {"approvals": (approval(role=Role.ops),)},
        ["approval-missing"],
    ),
    (
        "edited after approval",
        {"project": project(purpose="Other", end="2029-01-01")},
        ["edited-after-approval", "approval-missing"],
    ),
    (
        "edited and changed back",
        {"approvals": (approval(project(title="Other")), approval())},
        [],
    ),
    (
        "the tier's controls were loosened",
        {"profile": profile(**{"1": {"quorum": 3}})},
        ["edited-after-approval", "approval-missing"],
    ),
    ("the tier's machine limits were changed", {"profile": profile(**{"1": {"limits": {"cpus": 8}}})}, []),
    ("the dataset is not declared", {"datasets": ()}, ["dataset-unknown"]),
    ("the version is not declared", {"datasets": (dataset(**{"2.0": "data/lungs/2"}),)}, ["dataset-unknown"]),
    ("the version was not hashed", {"manifests": ()}, ["dataset-not-added"]),
    (
        "the folder moved",
        {"datasets": (dataset(**{"1.0": "data/elsewhere"}),)},
        ["dataset-moved"],
    ),
    ("no grant", {"grants": ()}, ["grant-missing"]),
    ("a grant of other files", {"grants": (a_grant(manifest=Sha256("cd" * 32)),)}, ["grant-missing"]),
    ("a grant of another version", {"grants": (a_grant(version="1.1"),)}, ["grant-missing"]),
    ("a grant to another project", {"grants": (a_grant(project="liver"),)}, ["grant-missing"]),
    ("a grant by another organisation", {"grants": (a_grant(organisation="survey"),)}, ["grant-missing"]),
    ("a grant of the future", {"grants": (a_grant(granted_at=NOW + DAY),)}, ["grant-missing"]),
    ("a grant that ran out", {"grants": (a_grant(until=dt.date(2026, 11, 22)),)}, ["grant-expired"]),
    ("a grant on its last day", {"grants": (a_grant(until=dt.date(2026, 11, 23)),)}, []),
    ("a revoked grant", {"grants": (a_grant(revoked_at=NOW - DAY),)}, ["grant-revoked"]),
    ("revoked at this very moment", {"grants": (a_grant(revoked_at=NOW),)}, ["grant-revoked"]),
    ("revoked and granted again", {"grants": (a_grant(revoked_at=NOW - DAY), a_grant(id="2"))}, []),
    (
        "one of two controllers granted",
        {"datasets": (dataset(controllers=("trust", "survey")),)},
        ["grant-missing"],
    ),
    (
        "both controllers granted",
        {
            "datasets": (dataset(controllers=("trust", "survey")),),
            "grants": (a_grant(), a_grant(id="2", organisation=OrganisationName("survey"))),
        },
        [],
    ),
    ("copies are held", {"holds": (Hold("1", LUNGS, TRUST, NOW),)}, ["copies-on-hold"]),
    ("the person is unknown", {"person": None}, ["person-unknown"]),
    ("the person is inactive", {"person": person("ana-silva", "analyst", active=False)}, ["person-inactive"]),
    ("no accreditation", {"person": person("ana-silva", "analyst", accredited=None)}, ["accreditation-missing"]),
    (
        "accreditation ran out yesterday",
        {"person": person("ana-silva", "analyst", accredited="2026-11-22")},
        ["accreditation-expired"],
    ),
    ("accreditation ends today", {"person": person("ana-silva", "analyst", accredited="2026-11-23")}, []),
    ("a member who is no analyst", {"person": person("ana-silva", "checker")}, ["not-an-analyst"]),
    ("not a member", {"person_id": PersonId("zoe")}, ["not-a-member"]),
    (
        "membership ended yesterday",
        edited(members=[{"person": "ana-silva", "until": "2026-11-22"}]),
        ["membership-ended"],
    ),
    ("membership ends today", edited(members=[{"person": "ana-silva", "until": "2026-11-23"}]), []),
]


@pytest.mark.parametrize(("changes", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table_of_refusals(changes: dict[str, Any], expected: list[str]) -> None:
    decision = decide(facts(**changes), NOW)
    assert codes(decision) == expected
    assert decision.allowed == (not expected)
    assert all(refusal.sentence.endswith(".") for refusal in decision.refusals)
    if expected:
        assert decision.datasets == ()
        assert decision.until is None


def test_every_reason_is_told_at_once() -> None:
    bad = facts(
        project=project(
            end="2026-11-01", datasets=[{"name": "lungs", "version": "1.0"}, {"name": "skin", "version": "1"}]
        ),
        approvals=(),
        grants=(),
        person=person("ana-silva", "analyst", accredited="2026-01-01", active=False),
        person_id=PersonId("zoe"),
    )
    assert codes(decide(bad, NOW)) == [
        "project-ended",
        "approval-missing",
        "person-inactive",
        "accreditation-expired",
        "not-a-member",
        "grant-missing",
        "dataset-unknown",
    ]


def test_an_edit_after_approval_is_named_field_by_field() -> None:
    refusal = decide(facts(project=project(purpose="Other", members=[{"person": "ana-silva"}, {"person": "bo"}])), NOW)
    assert "Changed: members, purpose." in refusal.refusals[0].sentence
    loosened = decide(facts(profile=profile(**{"1": {"quorum": 3, "mfa": False}})), NOW)
    assert "Changed: tier 1 mfa, tier 1 quorum." in loosened.refusals[0].sentence


def test_pixels_only_is_refused_until_this_tre_offers_it() -> None:
    declared = project(tier=3)
    glass = facts(project=declared, approvals=(approval(declared, tier="3"),))
    assert codes(decide(glass, NOW)) == ["access-not-offered"]
    assert decide(replace(glass, offers=frozenset({Access.glass})), NOW).allowed


@pytest.mark.parametrize(("mfa", "expected"), [(False, ["mfa-needed"]), (True, []), (None, [])])
def test_p1_second_factor_where_the_tier_asks(mfa: bool | None, expected: list[str]) -> None:
    declared = project(tier=2)
    both = (approval(declared, tier="2"), approval(declared, role=Role.ops, tier="2"))
    assert codes(decide(facts(project=declared, approvals=both, mfa=mfa), NOW)) == expected


@pytest.mark.parametrize(
    ("changes", "grace"),
    [
        ({}, 0),
        ({"grants": (a_grant(grace_seconds=300),)}, 300),
        ({"grants": (a_grant(grace_seconds=300, revoked_at=NOW),)}, 300),
        ({"grants": (a_grant(grace_seconds=300, revoked_at=NOW - dt.timedelta(seconds=100)),)}, 200),
        ({"grants": (a_grant(grace_seconds=300, revoked_at=NOW - dt.timedelta(seconds=301)),)}, 0),
        ({"grants": (a_grant(grace_seconds=300, revoked_at=NOW),), "approvals": ()}, 0),
        ({"grants": (a_grant(grace_seconds=300, revoked_at=NOW),), "person_id": PersonId("zoe")}, 0),
        ({"grants": (), "holds": (Hold("1", LUNGS, TRUST, NOW + dt.timedelta(seconds=60)),)}, 0),
        ({"holds": (Hold("1", LUNGS, TRUST, NOW + dt.timedelta(seconds=60)),)}, 60),
        (
            {
                "grants": (a_grant(grace_seconds=300, revoked_at=NOW),),
                "holds": (Hold("1", LUNGS, TRUST, NOW + dt.timedelta(seconds=300)),),
            },
            300,
        ),
        ({"grants": (a_grant(grace_seconds=90_000, until=dt.date(2026, 11, 22)),)}, 90_000 - 9 * 3600),
    ],
)
def test_d2_only_an_ended_grant_leaves_grace_and_only_its_own(changes: dict[str, Any], grace: int) -> None:
    decision = decide(facts(**changes), NOW)
    assert decision.grace_seconds == grace
    assert decision.may_keep_running == (decision.allowed or grace > 0)


def test_the_earliest_end_is_told() -> None:
    member = project(members=[{"person": "ana-silva", "until": "2026-12-01"}])
    decision = decide(facts(project=member, approvals=(approval(member),)), NOW)
    assert (decision.until, decision.ends_because) == (dt.datetime(2026, 12, 2, tzinfo=dt.UTC), "your membership ends")


def test_grace_is_the_grants_own_and_not_the_projects(now: dt.datetime) -> None:
    long = facts(grants=(a_grant(until=dt.date(2027, 12, 31), grace_seconds=300),))
    decision = decide(long, now)
    assert (decision.ends_because, decision.grace_seconds) == ("the project ends", 0)
    assert decide(replace(long, grants=(a_grant(grace_seconds=300),)), now).grace_seconds == 300


def test_a_project_without_data_needs_no_grant() -> None:
    declared = project(datasets=[])
    decision = decide(facts(project=declared, approvals=(approval(declared),), grants=()), NOW)
    assert decision.allowed
    assert decision.datasets == ()


def test_what_holds_for_everybody_leaves_the_person_out() -> None:
    assert why_project_not_ready(facts(person=None, person_id=PersonId("zoe")), NOW) == ()
    assert [one.code for one in why_project_not_ready(facts(approvals=(), grants=()), NOW)] == [
        "approval-missing",
        "grant-missing",
    ]


# --- the law ----------------------------------------------------------------------------------------------------------

MOMENTS = st.sampled_from([NOW - 400 * DAY, NOW - DAY, NOW, NOW + DAY])
DATES = st.sampled_from(["2026-11-20", "2026-11-23", "2027-06-30"])


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Facts of which some allow: every condition is there or not, in date or not, once or twice."""
    members: list[dict[str, str]] = draw(
        st.sampled_from(
            [[{"person": "ana-silva"}], [{"person": "ana-silva", "until": "2026-11-23"}], [{"person": "bo"}]]
        )
    )
    tier = draw(st.sampled_from([1, 1, 2, 3]))
    declared = project(
        tier=tier,
        members=members,
        end=draw(DATES),
        datasets=[
            {"name": name, "version": "1.0"} for name in draw(st.sampled_from([["lungs"], ["lungs", "skin"], []]))
        ],
    )
    approvals = draw(
        st.lists(
            st.builds(
                lambda role, approved, at: replace(
                    approval(declared, role=role, approved=approved, tier=str(tier)), at=at
                ),
                st.sampled_from([Role.approver, Role.ops]),
                st.sampled_from([True, True, True, False]),
                MOMENTS,
            ),
            max_size=4,
        )
    )
    grants = draw(
        st.lists(
            st.builds(
                lambda name, organisation, until, revoked, grace: a_grant(
                    dataset=name, organisation=organisation, until=until, revoked_at=revoked, grace_seconds=grace
                ),
                st.sampled_from(["lungs", "skin"]),
                st.sampled_from(["trust", "survey"]),
                st.sampled_from([dt.date(2026, 11, 22), dt.date(2027, 1, 1)]),
                st.sampled_from([None, None, NOW - DAY]),
                st.sampled_from([0, 100_000]),
            ),
            max_size=5,
        )
    )
    controllers = draw(st.sampled_from([("trust",), ("trust", "survey")]))
    return facts(
        project=declared,
        approvals=tuple(approvals),
        grants=tuple(grants),
        datasets=(dataset(controllers=controllers), dataset("skin")),
        manifests=(
            Manifest(LUNGS, "1.0", "data/lungs/1.0", HASH),
            Manifest(DatasetName("skin"), "1.0", "data/skin/1.0", HASH),
        ),
        person=draw(
            st.sampled_from([person("ana-silva", "analyst"), person("ana-silva", "analyst", accredited="2026-11-22")])
        ),
        mfa=draw(st.sampled_from([True, True, False])),
        offers=draw(st.sampled_from([frozenset({Access.direct}), frozenset({Access.direct, Access.glass})])),
    )


def without(values: tuple[Any, ...], index: int) -> tuple[Any, ...]:
    return values[:index] + values[index + 1 :]


def poorer(whole: Facts) -> list[tuple[str, Facts]]:
    """The same facts with one condition taken away, in every way there is."""
    taken: list[tuple[str, Facts]] = [
        ("profile", replace(whole, profile=None)),
        ("person", replace(whole, person=None)),
        ("mfa", replace(whole, mfa=False)),
        ("offers", replace(whole, offers=frozenset())),
        ("membership", replace(whole, person_id=PersonId("zoe"))),
        ("hold", replace(whole, holds=(Hold("9", LUNGS, TRUST, NOW - DAY),))),
        ("edit", replace(whole, project=whole.project.model_copy(update={"metadata": project("x").metadata}))),
    ]
    assert whole.person is not None
    spec = whole.person.spec
    for field, value in (("active", False), ("accreditation", None), ("roles", ())):
        changed = whole.person.model_copy(update={"spec": spec.model_copy(update={field: value})})
        taken.append((field, replace(whole, person=changed)))
    taken += [("dataset", replace(whole, datasets=without(whole.datasets, i))) for i in range(len(whole.datasets))]
    taken += [("manifest", replace(whole, manifests=without(whole.manifests, i))) for i in range(len(whole.manifests))]
    taken += [("grant", replace(whole, grants=without(whole.grants, i))) for i in range(len(whole.grants))]
    for index, one in enumerate(whole.grants):
        revoked = (*without(whole.grants, index), replace(one, revoked_at=min(one.ends_at, NOW)))
        taken.append(("revocation", replace(whole, grants=revoked)))
    for index, answer in enumerate(whole.approvals):
        if answer.approved:
            taken.append(("approval", replace(whole, approvals=without(whole.approvals, index))))
    refused = replace(approval(whole.project, approved=False), at=NOW + DAY, version=seen(whole))
    taken.append(("refusal", replace(whole, approvals=(*whole.approvals, refused))))
    return taken


def seen(whole: Facts) -> Version:
    assert whole.profile is not None
    policy = whole.profile.spec.policy(whole.project.spec.tier)
    assert policy is not None
    return version_of(whole.project, policy)


@settings(max_examples=150, deadline=None)
@given(any_facts())
def test_law_taking_a_condition_away_never_turns_a_refusal_into_a_permission(whole: Facts) -> None:
    before = decide(whole, NOW)
    for what, fewer in poorer(whole):
        after = decide(fewer, NOW)
        assert before.allowed or not after.allowed, what
        assert not after.allowed or after.grace_seconds >= 0


@settings(max_examples=100, deadline=None)
@given(any_facts(), st.integers(0, 800))
def test_law_what_is_allowed_is_allowed_until_its_end_and_not_after(whole: Facts, days: int) -> None:
    now = decide(whole, NOW)
    if now.allowed:
        assert now.until is not None
        assert decide(whole, now.until - dt.timedelta(microseconds=1)).allowed
        assert not decide(whole, now.until).allowed
    later = NOW + days * DAY
    live = {grant.dataset for grant in whole.grants if is_live(grant, later)}
    if decide(whole, later).allowed:
        assert {use.name for use in whole.project.spec.datasets} <= live


def test_the_law_is_tried_on_facts_that_allow() -> None:
    """Without any allowed example the laws above would say nothing."""

    def wanted(one: Facts) -> bool:
        return decide(one, NOW).allowed and len(one.project.spec.datasets) > 0

    patient = settings(max_examples=20_000, database=None, suppress_health_check=list(HealthCheck))
    assert decide(find(any_facts(), wanted, settings=patient, random=Random(0)), NOW).allowed


@given(minutes=st.integers(-60, 60))
def test_D2_a_revoked_grant_stays_dead_when_the_clock_steps_back(minutes: int) -> None:
    assert not is_live(a_grant(revoked_at=NOW), NOW + dt.timedelta(minutes=minutes))
