"""What is running here."""

from __future__ import annotations

import platform
from importlib.metadata import version

import onnxruntime
from fastapi import APIRouter

from app.http.openapi import problems
from app.routes.dependencies import ServiceOf
from app.schemas import Info, LimitsInfo
from hydrofill import __version__
from hydrofill.inference.graphs import PROVIDERS

router = APIRouter()

LIBRARIES = ("fastapi", "h5netcdf", "h5py", "numpy", "scipy", "xarray")


@router.get("/info", responses=problems(500, 503), summary="Versions, provider, limits")
async def info(service: ServiceOf) -> Info:
    """Versions of this server and its libraries, what runs the graphs, and what is taken."""
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
