"""GET /info: versions, execution provider and limits of this server."""

from __future__ import annotations

import platform
from importlib.metadata import version

import onnxruntime
from fastapi import APIRouter

from app.http.openapi import problems
from app.routes.dependencies import CurrentService
from app.schemas import Info, LimitsInfo
from hydrofill import __version__
from hydrofill.inference.graphs import PROVIDERS

router = APIRouter()

LIBRARIES = ("fastapi", "h5netcdf", "h5py", "numpy", "scipy", "xarray")


@router.get("/info", responses=problems(500, 503), summary="Show versions, execution provider and limits")
async def info(service: CurrentService) -> Info:
    """Return the versions of this server and its libraries, the execution provider, and the limits of requests."""
    settings = service.settings
    libraries = {name: version(name) for name in LIBRARIES}
    return Info(
        version=__version__,
        python=platform.python_version(),
        libraries={**libraries, "onnxruntime": onnxruntime.__version__},
        provider=PROVIDERS[settings.provider],
        precision={name: model.manifest.precision.dtype for name, model in service.registry.models.items()},
        threads=settings.graph_threads,
        limits=LimitsInfo(**settings.model_dump(include=set(LimitsInfo.model_fields))),
    )
