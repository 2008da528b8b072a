"""What a run is made of: frozen settings, checked when made, unknown keys refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A setting that is unknown or impossible; the message names it."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths and depths of encoder and decoder; heads are 32 wide, which runs fastest on CPU."""

    embed_dim: int = 96
    depth: int = 3
    num_heads: int = 3
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_num_heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        _positive(
            self, "embed_dim", "depth", "num_heads", "decoder_dim", "decoder_depth", "decoder_num_heads", "mlp_ratio"
        )
        for width, heads in (("embed_dim", "num_heads"), ("decoder_dim", "decoder_num_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigError(f"{width} {getattr(self, width)} is not a multiple of {heads} {getattr(self, heads)}")


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Which cells are hidden in training: how much of a window, by which kinds of gap.

    Kinds of gridded gaps are drawn evenly; `variable_absent` is the chance that one variable is hidden whole.
    """

    mask_ratio: tuple[float, float] = (0.15, 0.85)
    kinds: tuple[str, ...] = ("patches", "clouds", "swaths", "squares", "frames")
    mean_run: float = 2.0
    outage_run: float = 12.0
    variable_absent: float = 0.1
    kept_mask_ratio: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.mask_ratio
        if not 0 < low <= high < 1:
            raise ConfigError(f"mask_ratio must be 0 < low <= high < 1, got {self.mask_ratio}")
        if unknown := set(self.kinds) - {"patches", "clouds", "swaths", "squares", "frames"}:
            raise ConfigError(f"kinds of gap are not known: {sorted(unknown)}")
        if not self.kinds:
            raise ConfigError("kinds must name at least one kind of gap")
        for name in ("variable_absent", "kept_mask_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.kept_mask_ratio == 0:
            raise ConfigError("kept_mask_ratio must be above 0")
        _positive(self, "mean_run", "outage_run")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimiser's settings; the schedule runs over `minutes` of training or `steps`, whichever ends first."""

    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    steps: int = 20_000
    minutes: float = 10.0
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "batch_size", "learning_rate", "clip_norm", "steps", "minutes")
        for name in ("warmup", "ema_decay", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Patch and window; None is chosen from the data. `guesses` lets queries carry classical first guesses."""

    patch_rows: int | None = None
    patch_columns: int | None = None
    patch_steps: int | None = None
    window_steps: int | None = None
    window_rows: int | None = None
    window_columns: int | None = None
    guesses: bool = True

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not isinstance(value, bool) and value < 1:
                raise ConfigError(f"{item.name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is repeated from."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_yaml(self) -> str:
        """The text that `read_config` reads back."""
        plain = {
            part: {k: list(v) if isinstance(v, tuple) else v for k, v in s.items()} for part, s in asdict(self).items()
        }
        return yaml.safe_dump(plain, sort_keys=False)


PARTS = {"network": NetworkConfig, "tokens": TokensConfig, "masking": MaskingConfig, "training": TrainingConfig}


def read_config(path: Path) -> RunConfig:
    """The run described by a YAML file; parts and keys left out keep their defaults.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold the parts {sorted(PARTS)}")
    if unknown := content.keys() - PARTS.keys():
        raise ConfigError(f"{path}: unknown part {sorted(map(str, unknown))}, expected some of {sorted(PARTS)}")
    return RunConfig(**{part: _read_part(path, part, settings) for part, settings in content.items()})


def _read_part(path: Path, part: str, settings: Any) -> Any:
    kind = PARTS[part]
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: {part} must be a mapping")
    types = {f.name: str(f.type) for f in fields(kind)}
    if unknown := settings.keys() - types.keys():
        raise ConfigError(
            f"{path}: unknown key {sorted(map(str, unknown))} in {part}, expected some of {sorted(types)}"
        )
    for name, value in settings.items():
        if not _fits(value, types[name]):
            raise ConfigError(f"{path}: {part}.{name} must be {types[name]}, got {value!r}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})


def _fits(value: Any, annotation: str) -> bool:
    if isinstance(value, bool):
        return annotation == "bool"
    if annotation.startswith("tuple[float, float]"):
        return isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if annotation.startswith("tuple[str"):
        return isinstance(value, list) and all(isinstance(v, str) for v in value)
    allowed: dict[str, Any] = {
        "int": int,
        "float": (int, float),
        "int | None": (int, type(None)),
        "str": str,
        "bool": bool,
    }
    return isinstance(value, allowed[annotation])


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name} must be above 0, got {getattr(config, name)}")
