"""The weights of a general network as bytes that a bundle holds, with the network's settings; nothing is pickled."""

from __future__ import annotations

import json
import struct

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from hydrofill.layout import GENERAL
from model.config import NetworkConfig
from model.network.mae import CrossMAE

SETTINGS = "network"  # the key of the network's settings in the metadata
LENGTH_BYTES = 8  # of a safetensors file: the length of its header


class WeightsError(ValueError):
    """Weights that cannot be read, or that are of another network."""


def weights_bytes(network: CrossMAE) -> bytes:
    """Return the weights as safetensors, with the network's settings as JSON in the metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return save(tensors, {SETTINGS: network.config.model_dump_json()})


def read_network(content: bytes) -> CrossMAE:
    """Return the general network whose weights `weights_bytes` wrote, on the CPU.

    Raises:
        WeightsError: the content is damaged, or the weights do not fit the settings.
    """
    try:
        (length,) = struct.unpack("<Q", content[:LENGTH_BYTES])
        header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
        settings = json.loads(header["__metadata__"][SETTINGS])
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        config, tensors = NetworkConfig().updated(**given), load(content)
        with torch.device("meta"):  # the settings may ask for any amount of memory: compare the shapes first
            shapes = {name: value.shape for name, value in CrossMAE(GENERAL, config).state_dict().items()}
        if shapes != {name: value.shape for name, value in tensors.items()}:
            raise WeightsError("the weights are of another network than their settings")
        if not all(torch.isfinite(value).all() for value in tensors.values()):
            raise WeightsError("the weights are not all finite")
        network = CrossMAE(GENERAL, config)
        network.load_state_dict(tensors)
    except WeightsError:
        raise
    except (struct.error, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError("the weights cannot be read, or are of another network") from error
    return network
