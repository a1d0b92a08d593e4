"""Labelling what is no item: the referral of a record, and a version of its plan (SE).

Setting a label and taking one off is for provider roles; taking off needs to have set it, or to be
the workflow lead (AC-DO-6). What gains its first label, or loses its last, is sealed anew in the
other compartment (SG-6).
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from services.cases import content_events as e
from services.cases.change import Change, Command, Pen
from services.cases.kept import Kept
from services.cases.record import Status
from services.cases.requests import require_status
from services.cases.terms import Box, Label
from services.kernel.errors import Conflict, NotFound


def ordered(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return ``labels`` once each, in the order facts keep them."""
    return tuple(sorted(set(labels)))


def permit_labels(
    change: Change,
    known: Sequence[Label],
    setters: Mapping[Label, UUID],
    wanted: Sequence[Label],
) -> None:
    """Raise :class:`Forbidden` unless the caller may go from ``known`` to ``wanted``."""
    for label in set(known) - set(wanted):
        setter = setters.get(label)
        change.permit("unlabel", "item", "labelled_by_me", {setter} if setter else ())
    if set(wanted) - set(known):
        change.permit("label", "item")


async def resealed(change: Change, pen: Pen, content: Kept, *, sensitive: bool) -> Box:
    """Return ``content`` sealed anew for the compartment it belongs to now."""
    text = change.desk.renderer.boxes(change.record.student_id).text(content)
    if text is None:
        raise NotFound
    return await pen.box(content.field, text, sensitive=sensitive)


def label_referral(labels: Sequence[Label]) -> Command:
    """Set the labels of the referral to exactly ``labels``."""

    async def command(change: Change) -> None:
        record, wanted = change.record, ordered(labels)
        if "referral" not in change.sight.parts:
            raise NotFound
        change.permit("label", "item")
        permit_labels(change, record.referral_labels, record.referral_labelled_by, wanted)
        change.require_match()
        require_status(change, Status.ALLOCATED, Status.ACTIVE)
        if wanted == record.referral_labels:
            raise Conflict
        pen = change.pen()
        box = await resealed(change, pen, record.referral, sensitive=bool(wanted))
        by = change.by.assignment_id
        change.write(e.ReferralLabelled(labels=wanted, labelled_by=by, referral=box), pen)

    return command


def label_plan(plan_id: UUID, labels: Sequence[Label]) -> Command:
    """Set the labels of one version of the plan to exactly ``labels``."""

    async def command(change: Change) -> None:
        change.about("plan", plan_id)
        wanted = ordered(labels)
        version = next((v for v, _ in change.sight.versions if v.id == plan_id), None)
        if version is None:
            raise NotFound
        change.permit("label", "item")
        permit_labels(change, version.labels, version.labelled_by, wanted)
        change.require_match()
        require_status(change, Status.ACTIVE)
        if wanted == version.labels:
            raise Conflict
        pen = change.pen()
        box = await resealed(change, pen, version.content, sensitive=bool(wanted))
        by = change.by.assignment_id
        payload = e.PlanLabelled(plan_id=plan_id, labels=wanted, labelled_by=by, content=box)
        change.write(payload, pen)

    return command
