"""``/v1/students``: finding learners over HTTP (AC-SEE-23)."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.cases import answers, models
from services.cases.front import Front, json_response
from services.kernel.etags import not_modified


def router(front: Front) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/students", tags=["students"])

    @routes.post("/search", response_model=answers.StudentPage)
    async def search_students(request: Request, body: models.StudentQuery) -> Response:
        """Find learners now at one's school by name or number (AC-SEE-23).

        A page at a time; a POST, so that no URL names one. A cursor serves with the query it came
        from.
        """
        asked = await front.asked(request, "search")
        return json_response(await front.run(asked, lambda: front.students.search(asked, body)))

    @routes.get("/{student_id}", response_model=answers.StudentAnswer)
    async def read_student(request: Request, student_id: UUID) -> Response:
        """Return what one may see of a learner, at one's school or by a record (AC-SEE-1 to 23)."""
        asked = await front.asked(request, "read")
        body, version = await front.run(asked, lambda: front.students.read(asked, student_id))
        return not_modified(request, version) or json_response(body, version)

    return routes
