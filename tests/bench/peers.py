"""The peers over HTTP: what one would write without Casewarden, served with the same settings.

``bare`` reads bytes by id and answers them. ``recorded`` does the same and inserts one audit row,
committed before it answers: the least that a recorded read can be in this stack. ``obvious``
verifies the token of every request besides, and asks Casbin once for each part. All are FastAPI
with SQLAlchemy Core over asyncpg, and a pool of as many connections as Casewarden's.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import asyncpg
import jwt
import sqlalchemy as sa
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.authz import access, engine
from services.cases.parts import PARTS
from services.kernel.settings import Settings
from services.server import claim, serve

POOL: Final = 8
_meta = sa.MetaData()
ANSWER: Final = sa.Table(
    "answer",
    _meta,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
RECORD: Final = sa.Table(
    "record",
    _meta,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("head", JSONB, nullable=False),
    sa.Column("parts", JSONB, nullable=False),
)
#: how a person stands to a record: the facts that the policy's rows need
STANDING: Final = sa.Table(
    "standing",
    _meta,
    sa.Column("record_id", sa.Uuid, primary_key=True),
    sa.Column("person_id", sa.Uuid, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
)
AUDIT: Final = sa.Table(
    "audit",
    _meta,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()),
    sa.Column("person_id", sa.Uuid, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("record_id", sa.Uuid, nullable=False),
    sa.Column("parts", sa.ARRAY(sa.Text), nullable=False),
)


def metadata() -> sa.MetaData:
    """Return the tables of the peers."""
    return _meta


def database_at(url: str) -> AsyncEngine:
    """Return the engine of the peers over ``url``, which asyncpg reads: SQLAlchemy cannot."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(url),
        pool_size=POOL,
        max_overflow=0,
    )


def bare(database: AsyncEngine) -> FastAPI:
    """Return the application that reads and answers."""
    app = FastAPI()

    @app.get("/cases/v1/cases/{case_id}")
    async def read(case_id: UUID) -> Response:
        async with database.connect() as connection:
            return await _answer(connection, case_id)

    return app


def recorded(database: AsyncEngine) -> FastAPI:
    """Return the application that reads, writes one row of who read what, and answers."""
    app = FastAPI()

    @app.get("/cases/v1/cases/{case_id}")
    async def read(case_id: UUID) -> Response:
        async with database.begin() as connection:
            answer = await _answer(connection, case_id)
            await _record(connection, case_id, case_id, [])
        return answer

    return app


async def _answer(connection: AsyncConnection, case_id: UUID) -> Response:
    statement = sa.select(ANSWER.c.body).where(ANSWER.c.id == case_id)
    body = (await connection.execute(statement)).scalar_one_or_none()
    if body is None:
        raise HTTPException(404)
    return Response(body, media_type="application/json")


async def _record(
    connection: AsyncConnection, person_id: UUID, case_id: UUID, parts: Sequence[str]
) -> None:
    audit = {"id": uuid4(), "person_id": person_id, "action": "read", "record_id": case_id}
    await connection.execute(sa.insert(AUDIT).values(**audit, parts=parts))


def obvious(database: AsyncEngine, public_key: Ed25519PublicKey) -> FastAPI:
    """Return the application that does by hand and per request what Casewarden does."""
    app = FastAPI()
    enforcer = engine.enforcer()

    async def caller(authorization: Annotated[str, Header()]) -> UUID:
        token = authorization.removeprefix("Bearer ")
        claims = jwt.decode(
            token, public_key, [access.ALGORITHM], audience=access.AUDIENCE, issuer=access.ISSUER
        )
        return UUID(claims["sub"])

    async def transaction() -> AsyncIterator[AsyncConnection]:
        async with database.begin() as connection:
            yield connection

    @app.get("/cases/v1/cases/{case_id}")
    async def read(
        case_id: UUID,
        person_id: Annotated[UUID, Depends(caller)],
        connection: Annotated[AsyncConnection, Depends(transaction, scope="function")],
    ) -> dict[str, Any]:
        statement = (
            sa.select(RECORD.c.head, RECORD.c.parts, STANDING.c.role, STANDING.c.facts)
            .join(STANDING, STANDING.c.record_id == RECORD.c.id)
            .where(RECORD.c.id == case_id, STANDING.c.person_id == person_id)
        )
        row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise HTTPException(404)
        seen = [
            part for part in PARTS if enforcer.enforce(row.role, "read", f"case.{part}", row.facts)
        ]
        parts = {part: row.parts[part] for part in seen if part in row.parts}
        await _record(connection, person_id, case_id, seen)
        return {**row.head, "parts": parts}

    return app


def _application(name: str, database: AsyncEngine) -> FastAPI:
    if name == "bare":
        return bare(database)
    if name == "recorded":
        return recorded(database)
    key = Ed25519PublicKey.from_public_bytes(Path(os.environ["BENCH_KEY"]).read_bytes())
    return obvious(database, key)


async def _serve(name: str) -> None:
    settings = Settings.from_environment()
    database = database_at(os.environ["BENCH_DATABASE"])
    stop = asyncio.Event()
    try:
        await serve(_application(name, database), claim(settings), settings, stop, lambda: None)
    finally:
        await database.dispose()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
