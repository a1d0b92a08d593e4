"""``GET /metrics``: every metric of this process, as Prometheus reads it.

Mounted on each service's application; it holds no person, learner or address (see
:mod:`services.kernel.telemetry`), and stays outside the public address in production.
"""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


def metrics_route() -> Route:
    """Return the route, for ``app.router.routes.append``."""
    return Route("/metrics", _metrics, methods=["GET"], include_in_schema=False)
