"""The codec of application/x-netcdf: an untrusted file is checked before any library reads values from it."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from app.codecs.base import BodyLimits, Codec, Reply, VariableId
from app.codecs.sandbox.classic_check import check_classic
from app.codecs.sandbox.hdf5_check import check_hdf5
from hydrofill.cf.axes import recognise
from hydrofill.cf.netcdf import CDF5_MAGIC, CLASSIC_MAGIC, HDF5_MAGIC, cdf5_error, read_netcdf
from hydrofill.cf.writing import netcdf_bytes
from hydrofill.layout import Layout

MEDIA_TYPE = "application/x-netcdf"
OTHER_NAMES = (
    "application/netcdf",
    "application/x-hdf5",
)  # a reply has the name that was asked for


@dataclass(frozen=True, eq=False)
class NetcdfBody:
    """A NetCDF file, read and CF-decoded."""

    dataset: xr.Dataset

    @property
    def variables(self) -> tuple[VariableId, ...]:
        """The data variables of the file."""
        data = self.dataset.data_vars.items()
        return tuple(VariableId(str(name), str(v.attrs.get("standard_name", ""))) for name, v in data)

    def locate(self, where: str) -> str:
        """Return the name: a variable's name is its place in the file."""
        return where

    def to_dataset(self, layout: Layout) -> xr.Dataset:  # noqa: ARG002 (other formats need the model to be read)
        """Return the file's dataset."""
        return self.dataset


def decode(body: bytes, limits: BodyLimits, group: str = "") -> NetcdfBody:
    """Check and parse the file in `body`, or one group of it.

    Raises:
        UnreadableError: the body is not NetCDF, is damaged, or refers to other files.
        TooLargeError: the file declares more than the limits, or its decoded values take more.
        CoordinateError, StructureError: the metadata cannot be understood; names the variable.
    """
    if body.startswith(HDF5_MAGIC):
        check_hdf5(body, limits)
    elif body.startswith(CLASSIC_MAGIC):
        check_classic(body, limits)
    elif body.startswith(CDF5_MAGIC):  # no check can read its header, and netCDF4 would read it without any
        raise cdf5_error("classic NetCDF with 64-bit sizes (CDF5) is not taken by the server")
    dataset = read_netcdf(body, group)
    limits.check_bytes(sum(v.size * v.dtype.itemsize for v in dataset.variables.values()))
    limits.check("dimensions", len(dataset.sizes))
    limits.check("variables", len(dataset.variables))
    sites = [name for name, dimension in recognise(dataset).items() if dimension.axis == "site"]
    limits.check("sites", max((dataset.sizes[name] for name in sites), default=0))
    return NetcdfBody(dataset)


def encode(reply: Reply) -> bytes:
    """Write the reply as NetCDF-4 without compression: filled values compress badly, and compression takes time."""
    return netcdf_bytes(reply.dataset)


CODEC = Codec(MEDIA_TYPE, decode, encode, isolated=True, has_groups=True)
