"""How the application of each service begins: its errors, bodies, document and metrics.

Routes, and who counts what is refused, are each service's own.
"""

from typing import Final

from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig

from services.kernel.bodies import CheckedBodies, unambiguous
from services.kernel.documents import Ways, document, operation_id
from services.kernel.events import Service
from services.kernel.metrics import metrics_route
from services.kernel.problems import install_errors

#: The framework would hand what is asked, bodies and exceptions among it, to whatever exporter a
#: deployment or its environment configures. What is told of requests, the kernel tells (SG-18).
_UNTOLD: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def application(service: Service, ways: Ways) -> FastAPI:
    """Return an application without routes but ``/metrics``, to be mounted below its prefix."""
    app = FastAPI(
        title=f"Casewarden {service}",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(unambiguous)],
        generate_unique_id_function=operation_id,
        telemetry=_UNTOLD,
    )
    app.add_middleware(CheckedBodies)
    install_errors(app)
    document(app, ways)
    app.router.routes.append(metrics_route())
    return app
