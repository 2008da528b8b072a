"""The settings of a run: frozen, checked when they are made, unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from hydrofill.paths import FileRefusedError, read_regular

MAX_YAML_BYTES = 2**16  # far above the size of any real file of settings
MAX_YAML_DEPTH = 10

# What is said of a wrong value, by pydantic's type of error.
MESSAGES = {
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}

Count = Annotated[int, Field(gt=0)]
Width = Annotated[int, Field(gt=0, le=4096)]
Depth = Annotated[int, Field(gt=0, le=128)]
Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(ValueError):
    """A setting that is unknown or impossible; the message is one line and names the setting."""


class Settings(BaseModel):
    """Frozen settings. Types are strict: neither `"12"` nor `true` is a whole number.

    Raises:
        ConfigError: a setting is unknown or impossible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    if not TYPE_CHECKING:  # the type checker takes the arguments from the fields

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise ConfigError("; ".join(self._message(details) for details in error.errors())) from error

    def updated(self, **changes: Any) -> Self:
        """Return a copy with some settings changed, checked as a whole.

        Raises:
            ConfigError: a changed setting is unknown or impossible.
        """
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    @classmethod
    def _message(cls, details: ErrorDetails) -> str:
        """Return one wrong setting as a phrase."""
        name = ".".join(str(part) for part in details["loc"])
        if details["type"] == "value_error":
            return str(details["ctx"]["error"])
        if details["type"] == "extra_forbidden":
            return f"unknown key {name!r}, expected some of {', '.join(sorted(cls.model_fields))}"
        template = MESSAGES.get(details["type"], details["msg"].replace("{", "{{").replace("}", "}}"))
        return f"{name} {template.format(**details.get('ctx', {}))}, got {details['input']!r}"


class NetworkConfig(Settings):
    """Widths, depths and kinds of encoder and decoder. Attention heads are 32 wide, which runs fastest on a CPU.

    Attributes:
        memory: what the encoder hands to the decoder: the `sequence` of all its tokens, or one `pooled` token.
        decoder: `cross`-attention to the memory, or `full` self-attention over visible and hidden positions.
        decoder_self_attention: whether the queries of a cross decoder also read each other.
        feature_layers: encoder layers, numbered from 0, whose maps every decoder layer mixes; without any (and without
            `use_input`) the decoder reads the output of the last layer alone.
        use_input: whether the embedded input is one of the mixed maps.
        fusion: how variables are combined; see model/network/fusion.py.
        static: how static attributes enter; see model/network/encoder.py.
    """

    embed_dim: Width = 96
    depth: Depth = 3
    num_heads: Width = 3
    decoder_dim: Width = 96
    decoder_depth: Depth = 2
    decoder_num_heads: Width = 3
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4.0
    memory: Literal["sequence", "pooled"] = "sequence"
    decoder: Literal["cross", "full"] = "cross"
    decoder_self_attention: bool = False
    feature_layers: tuple[int, ...] = ()
    use_input: bool = False
    fusion: Literal["joint", "pooled", "none"] = "joint"
    static: Literal["token", "add", "film", "none"] = "token"

    @property
    def mixes_layers(self) -> bool:
        """True if each decoder layer reads its own mix of the encoder's maps."""
        return bool(self.feature_layers) or self.use_input

    @property
    def memory_width(self) -> int:
        """Width of one token of the memory that the decoder reads."""
        if self.decoder == "full":
            return self.decoder_dim
        return self.embed_dim * (self.decoder_depth if self.mixes_layers else 1)

    @property
    def queries_read_each_other(self) -> bool:
        """True if a prediction depends on the other queries, so that queries may not be split into chunks."""
        return self.decoder == "full" or self.decoder_self_attention

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.decoder == "full" and (self.memory != "pooled" or self.decoder_self_attention):
            raise ConfigError("decoder full needs memory pooled, and has self-attention already")
        if self.memory == "pooled" and (self.fusion != "joint" or self.feature_layers or self.use_input):
            raise ConfigError("memory pooled goes with fusion joint, without feature_layers and use_input")
        if wrong := [n for n in self.feature_layers if not 0 <= n < self.depth]:
            raise ConfigError(f"feature_layers {wrong} are not among the {self.depth} layers, numbered from 0")
        if len(set(self.feature_layers)) != len(self.feature_layers):
            raise ConfigError(f"feature_layers names a layer twice: {self.feature_layers}")
        for width, heads in (("embed_dim", "num_heads"), ("decoder_dim", "decoder_num_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigError(f"{width} {getattr(self, width)} is not a multiple of {heads} {getattr(self, heads)}")
        return self


class MaskingConfig(Settings):
    """Which cells are hidden in training: what share of a window, and by which kinds of gap.

    Attributes:
        mask_ratio: lowest and highest share of a window that is hidden.
        kinds: kinds of gap in grids, drawn with equal chances.
        untouched: share of steps in which nothing is hidden.
        own_gaps: share of the other steps that get the data's own gaps, moved to other times.
        mean_run: mean length of a gap, in steps.
        outage_run: mean length of a gauge outage, in steps.
        variable_absent: chance that one variable is hidden altogether.
        kept_mask_ratio: share of the hidden tokens that are predicted.
    """

    mask_ratio: tuple[float, float] = (0.15, 0.85)
    kinds: tuple[str, ...] = ("patches", "clouds", "swaths", "squares", "frames")
    untouched: Share = 0.3
    own_gaps: Share = 0.6
    mean_run: Positive = 2.0
    outage_run: Positive = 12.0
    variable_absent: Share = 0.1
    kept_mask_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5

    @field_validator("mask_ratio")
    @classmethod
    def _check_mask_ratio(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not 0 < low <= high < 1:
            raise ConfigError(f"mask_ratio must be 0 < low <= high < 1, got {value}")
        return value

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(value) - {"patches", "clouds", "swaths", "squares", "frames"}:
            raise ConfigError(f"kinds of gap are not known: {sorted(unknown)}")
        if not value:
            raise ConfigError("kinds must name at least one kind of gap")
        return value


class TrainingConfig(Settings):
    """The optimiser's settings and the training budget.

    Attributes:
        steps: training ends after this number of steps or after `minutes`, whichever comes first; the learning-rate
            schedule follows the share of this budget that is used.
        held_out: share of the time steps that is kept from training.
        patience: share of the budget without improvement on the held-out steps after which training stops, with the
            weights of the best check; 1 never stops early.
        devices: processors or GPUs that share every batch.
        precision: `auto` computes in bfloat16 on a GPU that supports it, and in float32 elsewhere.
        tensorboard: whether to write TensorBoard files in addition to log.csv.
    """

    batch_size: Count = 4
    learning_rate: Positive = 1e-3
    weight_decay: float = 0.05
    warmup: ShareBelowOne = 0.05
    clip_norm: Positive = 1.0
    ema_decay: ShareBelowOne = 0.998
    steps: Count = 20_000
    minutes: Positive = 10.0
    held_out: ShareBelowOne = 0.1
    patience: Positive = 0.5
    devices: Count = 1
    precision: Literal["auto", "32", "bf16"] = "auto"
    tensorboard: bool = False
    seed: int = 0

    @field_validator("precision", mode="before")
    @classmethod
    def _read_precision(cls, value: Any) -> Any:
        """Take 32 as text: YAML reads it as a number where it has no quotes."""
        return "32" if value == 32 and isinstance(value, int) else value

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.batch_size % self.devices:
            raise ConfigError(f"batch_size {self.batch_size} is not a multiple of devices {self.devices}")
        return self


class TokensConfig(Settings):
    """Sizes of patches and windows, each chosen from the data where None.

    Attributes:
        guesses: whether queries carry classical first guesses of their cells.
    """

    patch_rows: Size | None = None
    patch_columns: Size | None = None
    patch_steps: Size | None = None
    window_steps: Size | None = None
    window_rows: Size | None = None
    window_columns: Size | None = None
    guesses: bool = True


class RunConfig(Settings):
    """All settings that a run can be repeated from."""

    network: NetworkConfig = NetworkConfig()
    tokens: TokensConfig = TokensConfig()
    masking: MaskingConfig = MaskingConfig()
    training: TrainingConfig = TrainingConfig()

    def to_yaml(self) -> str:
        """Return the text that `read_config` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


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
        "crossmae_wfm": NetworkConfig(feature_layers=tuple(range(NetworkConfig().depth))),
    }.items()
} | {"hydrofill": RunConfig()}


def read_config(path: Path, preset: str = "hydrofill") -> RunConfig:
    """Read the settings of a run from a YAML file; parts and keys that the file leaves out are the preset's.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    content = read_yaml(path) or {}
    parts = sorted(RunConfig.model_fields)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold some of the parts {', '.join(parts)}")
    if unknown := content.keys() - set(parts):
        raise ConfigError(f"{path}: unknown part {sorted(map(str, unknown))}, expected some of {', '.join(parts)}")
    base = choose_preset(preset)
    return base.updated(**{name: _read_part(path, name, part, base) for name, part in content.items()})


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, which may come from a stranger.

    Raises:
        ConfigError: it cannot be read, is large, or repeats a part by an alias, which can make it endless.
    """
    try:
        text = read_regular(path, MAX_YAML_BYTES).decode()
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > MAX_YAML_DEPTH:
                raise ConfigError(f"{path}: holds an alias, or lists within lists within lists; write each value out")
        return yaml.safe_load(text)
    except FileRefusedError as error:
        raise ConfigError(str(error)) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML") from error


def choose_preset(name: str) -> RunConfig:
    """Return the preset of that name.

    Raises:
        ConfigError: no preset has that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _read_part(path: Path, name: str, part: Any, base: RunConfig) -> Settings:
    if not isinstance(part, dict):
        raise ConfigError(f"{path}: {name} must be a mapping")
    settings: Settings = getattr(base, name)
    try:
        return settings.updated(**{str(k): tuple(v) if isinstance(v, list) else v for k, v in part.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: in {name}: {error}") from error
