"""Roles: at which kind of organisation each is held, and which of them leads.

Place in the flow: asked while a change of access is judged, and by the fold that keeps who leads
first. Pure, and no decision: what a role may do is rows of the policy.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

from services.authz.directory import Assignment
from services.authz.events import OrganisationKind, Role

_BACK_OFFICE: Final = frozenset(
    {Role.TECHNICAL_SUPPORT, Role.SECURITY_ANALYST, Role.PRIVACY_OFFICER, Role.ADMINISTRATOR}
)
#: the role of those who decide about access in a kind of organisation: its leader or lead
LEAD: Final[Mapping[OrganisationKind, Role]] = {
    OrganisationKind.SCHOOL: Role.SCHOOL_LEADER,
    OrganisationKind.ASP: Role.ASP_WORKFLOW_LEAD,
    OrganisationKind.ISP: Role.ISP_WORKFLOW_LEAD,
}
_OWN_ROLES: Final[Mapping[OrganisationKind, frozenset[Role]]] = {
    OrganisationKind.SCHOOL: frozenset(
        {Role.SCHOOL_LEADER, Role.PRIMARY_CONTACT, Role.SCHOOL_OFFICE}
    ),
    OrganisationKind.ASP: frozenset({Role.ASP_WORKFLOW_LEAD, Role.ASP_CASE_MANAGER}),
    OrganisationKind.ISP: frozenset({Role.ISP_WORKFLOW_LEAD}),
    OrganisationKind.MINISTRY: _BACK_OFFICE
    | {
        Role.CENTRAL_INVESTIGATION,
        Role.NATIONAL_CONTRACTS,
        Role.REGIONAL_CONTRACT_MANAGER,
        Role.REGIONAL_OFFICE,
        Role.PROSECUTIONS,
    },
}

Kinds = Mapping[UUID, OrganisationKind]


def fits(role: Role, kind: OrganisationKind) -> bool:
    """Say whether a role can be held at a kind of organisation; back-office ones at any."""
    return role in _OWN_ROLES[kind] or role in _BACK_OFFICE


def leads(assignments: Iterable[Assignment], kinds: Kinds) -> bool:
    """Say whether one of ``assignments`` is that of an organisation's leader or lead."""
    return any(
        LEAD.get(kinds[a.organisation_id]) is a.role
        for a in assignments
        if a.organisation_id in kinds
    )


def role_facts(role: Role, kind: OrganisationKind, *, first: bool) -> list[str]:
    """Return what kind of role it is; ``first``: to give or to take back as the first of its lead.

    It is to give while nobody leads the organisation or is to, and to take back until it was given
    to anybody else.
    """
    facts = [f"{kind.value}_role"] if role in _OWN_ROLES[kind] else []
    if first and LEAD.get(kind) is role:
        facts.append("first_lead")
    return facts
