"""May this person work in this project now, and if not, why not: every reason at once. Pure.

Guarantee: taking a condition away (an approval, a grant, a membership, an accreditation, a manifest, a policy) never
turns a refusal into a permission. What cannot be established is refused.

A right ends in one of two ways. By a controller's grant (revoked, run out): no new start at once, and a workspace that
runs may go on for the grant's grace, counted from that moment. By anything else: at once.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from tre_orchestrator.catalogue.digest import Change, changed_keys, changes, controls, project_digest, version_of
from tre_orchestrator.catalogue.models import Role, TierPolicy
from tre_orchestrator.catalogue.names import DatasetName, OrganisationName
from tre_orchestrator.errors import Refusal
from tre_orchestrator.governance.model import Approval, Decision, Facts, Grant, Hold, Manifest, Mountable
from tre_orchestrator.governance.people import day, end_of_day, has_role, membership, why_not_person_all

__all__ = [
    "Approval",
    "Decision",
    "Facts",
    "Grant",
    "Hold",
    "Manifest",
    "Mountable",
    "answers",
    "decide",
    "edits",
    "is_live",
    "latest_approval",
    "tier_policy",
    "why_project_not_ready",
]


def is_live(grant: Grant, now: dt.datetime) -> bool:
    """Whether a grant permits anything now."""
    return grant.revoked_at is None and grant.granted_at <= now < grant.ends_at


def decide(facts: Facts, now: dt.datetime) -> Decision:
    """May `facts.person` work in `facts.project` now. Rules: invariants D1, D2, P1."""
    policy = tier_policy(facts)
    lost = list(_lost_rights(facts, now))
    at_once = [*_project_refusals(facts, policy, now), *_person_refusals(facts, policy, now)]
    refusals = (*at_once, *(refusal for refusal, _ in lost))
    mountable = () if refusals else tuple(_mountable(facts))
    end = _end(facts, now) if not refusals else None
    return Decision(
        allowed=not refusals,
        refusals=refusals,
        until=end.at if end else None,
        ends_because=end.because if end else "",
        digest=project_digest(facts.project),
        tier_policy=policy or TierPolicy(),
        datasets=mountable,
        grace_seconds=end.grace_seconds if end else _grace_left(bool(at_once), [ended for _, ended in lost], now),
    )


def why_project_not_ready(facts: Facts, now: dt.datetime) -> tuple[Refusal, ...]:
    """The reasons that hold for everybody, whoever asks: what is missing before anyone can work in the project."""
    project = _project_refusals(facts, tier_policy(facts), now)
    return (*project, *(refusal for refusal, _ in _lost_rights(facts, now)))


def tier_policy(facts: Facts) -> TierPolicy | None:
    """The controls of the project's tier, or None when its profile has none."""
    return facts.profile.spec.policy(facts.project.spec.tier) if facts.profile else None


def answers(facts: Facts, policy: TierPolicy) -> dict[Role, Approval | None]:
    """Per role that must approve: its last answer to exactly this project under exactly these controls."""
    version = version_of(facts.project, policy)
    last: dict[Role, Approval | None] = dict.fromkeys(policy.approvals)
    for answer in sorted(facts.approvals, key=lambda one: one.at):
        if answer.role in last and answer.version == version:
            last[answer.role] = answer
    return last


def latest_approval(facts: Facts) -> Approval | None:
    """The approval given last, of whichever version."""
    approved = [answer for answer in facts.approvals if answer.approved]
    return sorted(approved, key=lambda one: one.at)[-1] if approved else None


def edits(facts: Facts, policy: TierPolicy) -> tuple[Change, ...]:
    """What differs from the version approved last: fields of the project, and controls as `tier 2 quorum`."""
    latest = latest_approval(facts)
    if latest is None or latest.version == version_of(facts.project, policy):
        return ()
    controlled = changed_keys(latest.controls, controls(policy))
    tier = facts.project.spec.tier
    return (
        *changes(latest.document, facts.project),
        *(replace(change, field=f"tier {tier} {change.field}") for change in controlled),
    )


def _project_refusals(facts: Facts, policy: TierPolicy | None, now: dt.datetime) -> Iterator[Refusal]:
    spec = facts.project.spec
    if now < dt.datetime.combine(spec.start, dt.time(), dt.UTC):
        yield Refusal("project-not-started", f"The project begins on {day(spec.start)}.")
    if now >= end_of_day(spec.end):
        yield Refusal("project-ended", f"The project ended on {day(spec.end)}. A new end date needs a new approval.")
    if policy is None:
        yield Refusal(
            "no-policy",
            f"Policy profile '{spec.profile}' has no rules for tier {spec.tier}, so nothing may run. Ask ops.",
        )
        return
    if policy.access not in facts.offers:
        yield Refusal(
            "access-not-offered",
            f"Tier {spec.tier} may be seen as pixels only, and this TRE does not offer that yet. Nothing can start.",
        )
    yield from _approval_refusals(facts, policy)


def _approval_refusals(facts: Facts, policy: TierPolicy) -> Iterator[Refusal]:
    given = answers(facts, policy)
    for role, answer in given.items():
        if answer is not None and not answer.approved:
            when = day(answer.at.date())
            yield Refusal(
                "approval-refused", f"The {role} refused this version on {when}. The project's page says why."
            )
    missing = [role for role, answer in given.items() if answer is None]
    if not missing:
        return
    latest, edited = latest_approval(facts), edits(facts, policy)
    if latest and edited:
        yield Refusal(
            "edited-after-approval",
            f"The project was edited after it was approved on {day(latest.at.date())}. "
            f"Changed: {', '.join(edit.field for edit in edited)}. It is locked until it is approved again.",
        )
    for role in missing:
        yield Refusal("approval-missing", f"The {role} has not approved this version of the project yet.")


def _lost_rights(facts: Facts, now: dt.datetime) -> Iterator[tuple[Refusal, dt.datetime | None]]:
    """What is wrong with the rights to the data; where an ended grant is all of it, also when its grace runs out."""
    for hold in facts.holds:
        words = "are being deleted" if hold.decision else f"stay closed until {hold.organisation} decides on them"
        sentence = f"The right to '{hold.dataset}' ended. Copies of it in this project's folders {words}."
        yield Refusal("copies-on-hold", sentence), hold.running_until
    datasets = {dataset.metadata.name: dataset for dataset in facts.datasets}
    manifests = {(manifest.dataset, manifest.version): manifest for manifest in facts.manifests}
    for use in facts.project.spec.datasets:
        dataset = datasets.get(use.name)
        declared = dataset and {version.version: version.folder for version in dataset.spec.versions}.get(use.version)
        manifest = manifests.get((DatasetName(use.name), use.version))
        if dataset is None or declared is None:
            yield Refusal("dataset-unknown", f"Dataset '{use.name}' {use.version} is not in the catalogue."), None
            continue
        if manifest is None:
            yield (
                Refusal("dataset-not-added", f"Dataset '{use.name}' {use.version} has not been hashed yet. Ask ops."),
                None,
            )
            continue
        if manifest.folder != declared:
            yield (
                Refusal("dataset-moved", f"Dataset '{use.name}' {use.version} is not in the folder that was hashed."),
                None,
            )
            continue
        for organisation in dataset.spec.controllers:
            found = _why_not_granted(facts, manifest, OrganisationName(organisation), now)
            if found:
                yield found


def _why_not_granted(
    facts: Facts, manifest: Manifest, organisation: OrganisationName, now: dt.datetime
) -> tuple[Refusal, dt.datetime | None] | None:
    name = f"'{manifest.dataset}' {manifest.version}"
    grants = list(_grants_for(facts, manifest, organisation))
    if any(is_live(grant, now) for grant in grants):
        return None
    ended = [grant for grant in grants if grant.ends_at <= now and grant.replaced_by is None]
    if not ended:
        return Refusal("grant-missing", f"{organisation} has not granted {name} to this project."), None
    last = max(ended, key=lambda grant: grant.ends_at)
    over = last.ends_at + dt.timedelta(seconds=last.grace_seconds)
    if last.revoked_at is not None and last.revoked_at <= last.ends_at:
        return Refusal(
            "grant-revoked", f"{organisation} revoked its grant of {name} on {day(last.ends_at.date())}."
        ), over
    return Refusal("grant-expired", f"{organisation}'s grant of {name} ran out on {day(last.until)}."), over


def _grants_for(facts: Facts, manifest: Manifest, organisation: OrganisationName) -> Iterator[Grant]:
    """Grants of exactly these files to exactly this project."""
    for grant in facts.grants:
        same_files = (grant.dataset, grant.version, grant.manifest) == (
            manifest.dataset,
            manifest.version,
            manifest.digest,
        )
        if same_files and grant.organisation == organisation and grant.project == facts.project.metadata.name:
            yield grant


def _person_refusals(facts: Facts, policy: TierPolicy | None, now: dt.datetime) -> Iterator[Refusal]:
    yield from why_not_person_all(facts.person, now, mfa=facts.mfa, needs_mfa=policy is None or policy.mfa)
    if facts.person is not None and not has_role(facts.person, Role.analyst):
        yield Refusal("not-an-analyst", "Only accredited analysts work in workspaces, and you are not one.")
    member = membership(facts.project, facts.person_id)
    if member is None:
        yield Refusal("not-a-member", "You are not a member of this project.")
    elif member.until is not None and now >= end_of_day(member.until):
        yield Refusal("membership-ended", f"Your membership of this project ended on {day(member.until)}.")


def _grace_left(at_once: bool, ends: Sequence[dt.datetime | None], now: dt.datetime) -> int:
    """Seconds a running workspace may go on: 0 as soon as any reason is not an ended grant with grace left."""
    moments = [moment for moment in ends if moment is not None]
    if at_once or len(moments) < len(ends):
        return 0
    return max(0, math.ceil((min(moments) - now).total_seconds()))


def _live_grants(facts: Facts, now: dt.datetime) -> Iterator[Grant]:
    """Of each dataset and controller the live grant that lasts longest."""
    manifests = {(manifest.dataset, manifest.version): manifest for manifest in facts.manifests}
    for use in facts.project.spec.datasets:
        dataset = next((one for one in facts.datasets if one.metadata.name == use.name), None)
        manifest = manifests.get((DatasetName(use.name), use.version))
        if dataset is None or manifest is None:
            continue
        for organisation in dataset.spec.controllers:
            live = [g for g in _grants_for(facts, manifest, OrganisationName(organisation)) if is_live(g, now)]
            if live:
                yield max(live, key=lambda grant: (grant.ends_at, grant.grace_seconds))


def _mountable(facts: Facts) -> Iterator[Mountable]:
    manifests = {(manifest.dataset, manifest.version): manifest for manifest in facts.manifests}
    for use in facts.project.spec.datasets:
        manifest = manifests[(DatasetName(use.name), use.version)]
        yield Mountable(manifest.dataset, manifest.version, facts.state_dir / manifest.folder, manifest.digest)


class _End(NamedTuple):
    """What ends an allowed right by itself; of several at one moment the one with the least grace."""

    at: dt.datetime
    grace_seconds: int
    because: str


def _end(facts: Facts, now: dt.datetime) -> _End:
    ends = [_End(end_of_day(facts.project.spec.end), 0, "the project ends")]
    member = membership(facts.project, facts.person_id)
    if member and member.until:
        ends.append(_End(end_of_day(member.until), 0, "your membership ends"))
    if facts.person and facts.person.spec.accreditation:
        ends.append(_End(end_of_day(facts.person.spec.accreditation.expires), 0, "your accreditation runs out"))
    for grant in _live_grants(facts, now):
        ends.append(_End(grant.ends_at, grant.grace_seconds, f"{grant.organisation}'s grant of '{grant.dataset}' ends"))
    return min(ends)
