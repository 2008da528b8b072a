"""The settings of a pretraining: where the data are, how many records, the network and the optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import field_validator

from model.config import ConfigError, Count, NetworkConfig, Settings, Share, TrainingConfig, read_yaml


class PretrainingConfig(Settings):
    """All settings that a pretraining can be repeated from.

    Attributes:
        data: folder of NetCDF files and of masks.nc; a path that is not absolute starts at the settings' own folder.
        exclude: names of files and kinds of data that are left out (model/pretraining/real_data.py).
        records: number of records that windows are drawn from.
        record_values: largest number of values of a record.
        real_share: share of the records that are drawn from the data; the others are simulated.
        held_out: share of the records that windows are never drawn from.
        network: of the general network.
        training: `steps`, `batch_size`, learning rate and so on; `minutes` bounds the training alone.
    """

    data: Path
    exclude: tuple[str, ...] = ()
    records: Count = 600
    record_values: Count = 40_000
    real_share: Share = 0.5
    held_out: Share = 0.05
    network: NetworkConfig = NetworkConfig(embed_dim=128, num_heads=4, decoder_dim=128, decoder_num_heads=4)
    training: TrainingConfig = TrainingConfig(batch_size=8, minutes=600.0)

    @field_validator("data", mode="before")
    @classmethod
    def _read_data(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value

    def to_yaml(self) -> str:
        """Return the text that `read_pretraining` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def read_pretraining(path: Path) -> PretrainingConfig:
    """Read the settings of a pretraining from a YAML file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping")
    given: dict[str, Any] = {str(k): tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    default = {name: field.default for name, field in PretrainingConfig.model_fields.items()}
    for part in ("network", "training"):
        if part in given:
            given[part] = default[part].updated(
                **{k: tuple(v) if isinstance(v, list) else v for k, v in given[part].items()}
            )
    try:
        settings = PretrainingConfig(**given)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings.updated(data=(path.parent / settings.data).resolve())
