"""What a run is made of: frozen settings, checked when made, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml


class ConfigError(ValueError):
    """A setting that is unknown or impossible; the message names it."""


def _one_of(config: object, **choices: tuple[str, ...]) -> None:
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(config, name)!r}")


def _positive(config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ConfigError(f"{name} must be above 0, got {getattr(config, name)}")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Widths, depths and ways of encoder and decoder; heads are 32 wide, which runs fastest on CPU.

    memory: what the decoder gets of the encoder, its `sequence` or one `pooled` token. decoder: `cross`-attention to
    the memory, or `full` self-attention over visible and hidden positions. fusion and static: see model/network/fusion.py and
    model/network/encoder.py. feature_layers (from 0) and use_input choose the maps that decoder layers mix; none of them is
    the last layer's output alone.
    """

    embed_dim: int = 96
    depth: int = 3
    num_heads: int = 3
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_num_heads: int = 3
    mlp_ratio: float = 4.0
    memory: Literal["sequence", "pooled"] = "sequence"
    decoder: Literal["cross", "full"] = "cross"
    decoder_self_attention: bool = False
    feature_layers: tuple[int, ...] = ()
    use_input: bool = False
    fusion: Literal["joint", "pooled", "none"] = "joint"
    static: Literal["token", "add", "film", "none"] = "token"

    @property
    def mixes_layers(self) -> bool:
        """Whether each decoder layer reads its own mix of the encoder's maps."""
        return bool(self.feature_layers) or self.use_input

    @property
    def memory_width(self) -> int:
        """Of one token of the memory that the decoder reads."""
        if self.decoder == "full":
            return self.decoder_dim
        return self.embed_dim * (self.decoder_depth if self.mixes_layers else 1)

    @property
    def queries_read_each_other(self) -> bool:
        """Whether an answer depends on what else is asked, so that queries may not be split."""
        return self.decoder == "full" or self.decoder_self_attention

    def __post_init__(self) -> None:
        _one_of(self, memory=("sequence", "pooled"), decoder=("cross", "full"), fusion=("joint", "pooled", "none"))
        _one_of(self, static=("token", "add", "film", "none"))
        self._check_combinations()
        _positive(
            self, "embed_dim", "depth", "num_heads", "decoder_dim", "decoder_depth", "decoder_num_heads", "mlp_ratio"
        )
        for width, heads in (("embed_dim", "num_heads"), ("decoder_dim", "decoder_num_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigError(f"{width} {getattr(self, width)} is not a multiple of {heads} {getattr(self, heads)}")

    def _check_combinations(self) -> None:
        if self.decoder == "full" and (self.memory != "pooled" or self.decoder_self_attention):
            raise ConfigError("decoder full needs memory pooled, and has self-attention already")
        if self.memory == "pooled" and (self.fusion != "joint" or self.feature_layers or self.use_input):
            raise ConfigError("memory pooled goes with fusion joint, without feature_layers and use_input")
        if wrong := [n for n in self.feature_layers if not 0 <= n < self.depth]:
            raise ConfigError(f"feature_layers {wrong} are not among the {self.depth} layers, numbered from 0")
        if len(set(self.feature_layers)) != len(self.feature_layers):
            raise ConfigError(f"feature_layers names a layer twice: {self.feature_layers}")


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Which cells are hidden in training: how much of a window, by which kinds of gap.

    Kinds of gridded gaps are drawn evenly; `untouched` is the share of steps that keep all they have, `own_gaps` the
    share of the others that gets the data's own gaps, moved to other times; `variable_absent` is the chance that one
    variable is not seen at all.
    """

    mask_ratio: tuple[float, float] = (0.15, 0.85)
    kinds: tuple[str, ...] = ("patches", "clouds", "swaths", "squares", "frames")
    untouched: float = 0.3
    own_gaps: float = 0.6
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
        for name in ("untouched", "own_gaps", "variable_absent", "kept_mask_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.kept_mask_ratio == 0:
            raise ConfigError("kept_mask_ratio must be above 0")
        _positive(self, "mean_run", "outage_run")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimiser's settings; the schedule runs over `minutes` of training or `steps`, whichever ends first.

    Shares of time (`held_out`) are kept from training. Where the loss there has not improved for `patience`, as a
    share of the budget, training stops and the weights of the best check are kept; 1 never stops. `devices` share
    every batch. precision: `auto` computes in bfloat16 on a GPU made for it. tensorboard: write for it beside log.csv.
    """

    batch_size: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    steps: int = 20_000
    minutes: float = 10.0
    held_out: float = 0.1
    patience: float = 0.5
    devices: int = 1
    precision: Literal["auto", "32", "bf16"] = "auto"
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "batch_size", "learning_rate", "clip_norm", "steps", "minutes", "patience", "devices")
        _one_of(self, precision=("auto", "32", "bf16"))
        if self.batch_size % self.devices:
            raise ConfigError(f"batch_size {self.batch_size} is not a multiple of devices {self.devices}")
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


# The systems that the project compares, as published: without first guesses. The default adds those to `crossmae`.
PRESETS: Mapping[str, RunConfig] = {
    name: RunConfig(
        network=network,
        tokens=TokensConfig(guesses=False),
        masking=MaskingConfig(untouched=0.0, own_gaps=0.0),
    )
    for name, network in {
        "water_fm_small": NetworkConfig(memory="pooled", decoder="full"),
        "plan_a": NetworkConfig(memory="pooled"),
        "crossmae": NetworkConfig(),
        "crossmae_wfm": NetworkConfig(feature_layers=tuple(range(NetworkConfig.depth))),
    }.items()
} | {"hydrofill": RunConfig()}

PARTS = {"network": NetworkConfig, "tokens": TokensConfig, "masking": MaskingConfig, "training": TrainingConfig}


def read_config(path: Path, preset: str = "hydrofill") -> RunConfig:
    """The run described by a YAML file; parts and keys left out are the preset's.

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
    base = choose_preset(preset)
    return replace(base, **{part: _read_part(path, part, settings, base) for part, settings in content.items()})


def choose_preset(name: str) -> RunConfig:
    """The run of that name in PRESETS.

    Raises:
        ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _read_part(path: Path, part: str, settings: Any, base: RunConfig) -> Any:
    kind = PARTS[part]
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: {part} must be a mapping")
    types = {f.name: str(f.type) for f in fields(kind)}
    if unknown := settings.keys() - types.keys():
        raise ConfigError(
            f"{path}: unknown key {sorted(map(str, unknown))} in {part}, expected some of {sorted(types)}"
        )
    if settings.get("precision") == 32:
        settings["precision"] = "32"  # as YAML reads it without quotes
    for name, value in settings.items():
        if not _fits(value, types[name]):
            raise ConfigError(f"{path}: {part}.{name} must be {types[name]}, got {value!r}")
    return replace(getattr(base, part), **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})


def _fits(value: Any, annotation: str) -> bool:
    if isinstance(value, bool):
        return annotation == "bool"
    if annotation.startswith("tuple[float, float]"):
        return isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
    if annotation.startswith("tuple[int"):
        return isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if annotation.startswith("Literal"):
        return isinstance(value, str)
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
