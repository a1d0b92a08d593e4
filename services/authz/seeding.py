"""Facts for a new installation: its first administrator, or a demonstration's whole region.

Pure builders: they draw ids, seal, and return events whose versions follow each other in their
streams; whoever calls loads the keys first (:func:`needed_keys`) and appends. Nobody is checked
here: never reachable from a request.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.client_events import (
    CLIENT_REGISTERED,
    ClientRegistered,
    client_key,
    client_stream,
    client_subject,
)
from services.authz.credentials import Carried, CredentialSealer
from services.authz.recording import (
    data_of,
    organisation_stream,
    person_object,
    person_stream,
)
from services.authz.tokens import digest
from services.authz.usernames import Usernames
from services.kernel.effects import Effects
from services.kernel.events import Event, ObjectRef
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef


def needed_keys(person_id: UUID) -> tuple[KeyRef, KeyRef]:
    """Return the keys that :func:`person_events` seals with."""
    return KeyRef(person_id, Compartment.STAFF), KeyRef(person_id, Compartment.CREDENTIAL)


def client_keys(client_id: str) -> tuple[KeyRef]:
    """Return the keys that :func:`client_events` seals with."""
    return (KeyRef(client_subject(client_id), Compartment.CREDENTIAL),)


def person_events(
    keys: KeyStore,
    effects: Effects,
    usernames: Usernames,
    *,
    person_id: UUID,
    username: str,
    profile: e.Profile,
    password_hash: str,
    totp_secret: str,
    assignments: Iterable[e.AssignmentGranted],
    recorded_at: datetime,
) -> list[Event]:
    """Return a person who can log in, from version 1 of their stream on.

    ``password_hash`` is argon2id (:func:`services.authz.passwords.hash_password`). Append with
    :func:`services.authz.usernames.username_once` among the once-keys.
    """
    sealer = CredentialSealer(keys, effects, person_id)
    carried = [
        registered(
            keys, effects, usernames, person_id=person_id, username=username, profile=profile
        ),
        sealer.password(password_hash),
        sealer.totp(totp_secret),
        *(Carried(e.ASSIGNMENT_GRANTED, effects.new_id(), granted) for granted in assignments),
    ]
    return as_person(person_id, carried, recorded_at)


def as_person(
    person_id: UUID,
    carried: Iterable[Carried],
    recorded_at: datetime,
    organisation_id: UUID | None = None,
) -> list[Event]:
    """Return what is carried as the first facts of a person's stream, in this order."""
    return [
        Event(
            id=one.event_id,
            type=one.type,
            stream=person_stream(person_id),
            version=version,
            recorded_at=recorded_at,
            action="grant" if one.type == e.ASSIGNMENT_GRANTED else "create",
            object=person_object(person_id),
            organisation_id=organisation_id,
            touches=(e.person_key(person_id),),
            data=data_of(one.payload),
        )
        for version, one in enumerate(carried, 1)
    ]


def registered(
    keys: KeyStore,
    effects: Effects,
    usernames: Usernames,
    *,
    person_id: UUID,
    username: str,
    profile: e.Profile,
) -> Carried:
    """Return the fact that a person exists, sealed under :func:`needed_keys`."""
    event_id = effects.new_id()
    staff, credential = needed_keys(person_id)
    text = msgspec.json.encode(profile).decode()
    payload = e.PersonRegistered(
        person_id=person_id,
        profile=keys.seal(staff, event_id, "profile", text),
        username_digest=usernames.digest(username),
        username=keys.seal(credential, event_id, "username", username),
    )
    return Carried(e.PERSON_REGISTERED, event_id, payload)


def organisation_event(
    effects: Effects, payload: e.OrganisationRegistered, recorded_at: datetime, version: int = 1
) -> Event:
    """Return the fact that an organisation exists."""
    key = e.organisation_key(payload.organisation_id)
    return Event(
        id=effects.new_id(),
        type=e.ORGANISATION_REGISTERED,
        stream=organisation_stream(payload.organisation_id),
        version=version,
        recorded_at=recorded_at,
        action="create",
        object=ObjectRef("organisation", str(payload.organisation_id)),
        organisation_id=payload.organisation_id,
        touches=(key,),
        data=data_of(payload),
    )


def catchment_event(
    effects: Effects, payload: e.CatchmentChanged, recorded_at: datetime, version: int
) -> Event:
    """Return the fact that a provider serves a school; ``version`` of the provider's stream."""
    return Event(
        id=effects.new_id(),
        type=e.CATCHMENT_CHANGED,
        stream=organisation_stream(payload.provider_id),
        version=version,
        recorded_at=recorded_at,
        effective_at=payload.starts_at,
        action="update",
        object=ObjectRef("organisation", str(payload.provider_id)),
        organisation_id=payload.provider_id,
        touches=(e.catchment_key(payload.school_id), e.organisation_key(payload.provider_id)),
        data=data_of(payload),
    )


def client_events(
    keys: KeyStore,
    effects: Effects,
    *,
    client_id: str,
    name: str,
    scopes: Sequence[str],
    secret: str | None,
    recorded_at: datetime,
    public_key: str | None = None,
    organisation_id: UUID | None = None,
) -> list[Event]:
    """Return a service client that can ask for tokens; ``secret`` has 256 random bits.

    Without a secret nothing is sealed, and no key is needed.
    """
    event_id = effects.new_id()
    (ref,) = client_keys(client_id)
    sealed = None if secret is None else keys.seal(ref, event_id, "secret", digest(secret))
    payload = ClientRegistered(
        client_id=client_id,
        name=name,
        scopes=tuple(scopes),
        secret=sealed,
        public_key=public_key,
        organisation_id=organisation_id,
    )
    return [
        Event(
            id=event_id,
            type=CLIENT_REGISTERED,
            stream=client_stream(client_id),
            version=1,
            recorded_at=recorded_at,
            action="create",
            object=ObjectRef("client", client_id),
            organisation_id=organisation_id,
            touches=(client_key(client_id),),
            data=data_of(payload),
        )
    ]
