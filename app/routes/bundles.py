"""GET /bundles lists the loaded bundles; GET /bundles/NAME returns the manifest of one."""

from __future__ import annotations

from fastapi import APIRouter

from app.http.openapi import problems
from app.routes.dependencies import CurrentService
from app.schemas import BundleList, BundleSummary, VariableSummary
from hydrofill.bundle import Manifest
from hydrofill.inference.model import Model

router = APIRouter()


@router.get("/bundles", responses=problems(500, 503), summary="List the loaded bundles")
async def list_bundles(service: CurrentService) -> BundleList:
    """Return name, version and variables of each loaded bundle."""
    return BundleList(bundles=tuple(_summary(model) for model in service.registry.models.values()))


@router.get("/bundles/{name}", responses=problems(404, 422, 500, 503), summary="Show a bundle's manifest")
async def show_bundle(name: str, service: CurrentService) -> Manifest:
    """Return the manifest: variables, units, training data, measured skill and digests of the files."""
    return service.registry.get(name).manifest


def _summary(model: Model) -> BundleSummary:
    named = () if model.layout.general else model.layout.variables
    variables = tuple(
        VariableSummary(name=v.name, kind=v.kind, units=v.units, standard_name=v.standard_name) for v in named
    )
    manifest = model.manifest
    return BundleSummary(
        name=manifest.name,
        version=manifest.version,
        sha256=model.sha256,
        precision=manifest.precision.dtype,
        general=model.layout.general,
        variables=variables,
    )
