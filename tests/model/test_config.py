"""Settings are checked when they are made; unknown and impossible settings are refused in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from model.config import ConfigError, MaskingConfig, NetworkConfig, RunConfig, TokensConfig, TrainingConfig, read_config


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = RunConfig(
        network=NetworkConfig(embed_dim=64, num_heads=2),
        tokens=TokensConfig(window_steps=9, guesses=False),
        masking=MaskingConfig(kinds=("clouds",), mask_ratio=(0.2, 0.4)),
        training=TrainingConfig(minutes=1.5),
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert read_config(tmp_path / "config.yaml") == config


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert read_config(tmp_path / "config.yaml") == RunConfig()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training: {epochs: 3}", "in training: unknown key 'epochs', expected some of batch_size"),
        ("optimiser: {}", r"unknown part \['optimiser'\]"),
        ("network: {embed_dim: 100, num_heads: 3}", "embed_dim 100 is not a multiple of num_heads 3"),
        ("network: {depth: 0}", "depth must be above 0"),
        ("network: {depth: two}", "in network: depth must be a whole number, got 'two'"),
        ("network: {depth: true}", "in network: depth must be a whole number, got True"),
        ("training: {steps: '12'}", "in training: steps must be a whole number, got '12'"),
        ("training: {minutes: .nan}", "minutes must be above 0, got nan"),
        (
            "network: {depth: 0, embed_dim: x}",
            "embed_dim must be a whole number, got 'x'; depth must be above 0, got 0",
        ),
        ("network: {fusion: late}", "fusion must be 'joint', 'pooled' or 'none', got 'late'"),
        ("masking: {mask_ratio: [0.9, 0.1]}", "mask_ratio must be"),
        ("masking: {mask_ratio: 0.5}", "in masking: mask_ratio must be a list, got 0.5"),
        ("masking: {kinds: [rain]}", r"kinds of gap are not known: \['rain'\]"),
        ("masking: {kinds: []}", "kinds must name at least one"),
        ("masking: {kept_mask_ratio: 0}", "kept_mask_ratio must be above 0"),
        ("masking: {variable_absent: 2}", "variable_absent must be at most 1, got 2"),
        ("training: {minutes: 0}", "minutes must be above 0"),
        ("training: {ema_decay: 1}", "ema_decay must be below 1, got 1"),
        ("tokens: {window_steps: 0}", "window_steps must be at least 1"),
        ("tokens: {guesses: 1}", "in tokens: guesses must be true or false, got 1"),
        ("training: 3", "training must be a mapping"),
        ("[1, 2]", "must hold some of the parts"),
        ("{", "cannot be read as YAML"),
    ],
)
def test_a_bad_setting_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says) as refusal:
        read_config(tmp_path / "config.yaml")
    assert "\n" not in str(refusal.value)


def test_a_changed_setting_is_checked_too() -> None:
    assert TrainingConfig().updated(steps=3) == TrainingConfig(steps=3)
    with pytest.raises(ConfigError, match="steps must be above 0, got 0"):
        TrainingConfig().updated(steps=0)
    with pytest.raises(ConfigError, match="unknown key 'epochs'"):
        TrainingConfig().updated(epochs=3)


def test_settings_travel_to_another_process() -> None:
    config = RunConfig(network=NetworkConfig(feature_layers=(0, 1)))
    assert pickle.loads(pickle.dumps(config)) == config


def test_precision_may_be_written_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("training: {precision: 32}")
    assert read_config(tmp_path / "config.yaml").training.precision == "32"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True))


@pytest.mark.parametrize(
    "text", [BOMB, "network: &n {depth: 2}\ntraining: *n\n", "[" * 20_000, "a" * 2**21, "!!python/x 1"]
)
def test_settings_of_strangers_cannot_grow(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path / "config.yaml")


def test_settings_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path / "config.yaml")
