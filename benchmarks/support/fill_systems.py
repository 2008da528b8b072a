"""The systems of hydrofill that the fill benchmark compares, and the commands of a user for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ZERO_SHOT, TUNED, TRAINED, MIX = "zero-shot", "tuned", "trained", "mix of guesses"
CHOICES = (ZERO_SHOT, TUNED, TRAINED)
TUNE_MINUTES = 1.0
MEANINGS = {
    ZERO_SHOT: "`hydrofill fill` with the general bundle, which was trained on none of these cases",
    TUNED: "the general bundle after `hydrofill tune` on the case",
    TRAINED: "a network trained from nothing on the case",
    MIX: "zero-shot with an untrained network: the first guesses alone, weighted by their errors on the record",
}
MAX_RATIOS = {ZERO_SHOT: 1.10, TUNED: 1.05, TRAINED: 1.05, MIX: 1.10}  # of RMSE to the best: rows above it are listed


@dataclass(frozen=True)
class System:
    """One system: its name, the minutes of its training, its bundle (None: the default one), and its seeds.

    minutes: None where nothing is trained. bundle: of a system that is not trained on the case.
    """

    name: str
    minutes: float | None = None
    bundle: str | None = None
    seeds: tuple[int, ...] = (0,)  # one where the result does not depend on the seed

    def folder(self, seed: int, fingerprint: str) -> str:
        """Return the name of the folder of a run; `fingerprint` tells the bundle of a fill without training."""
        match self.name:
            case "trained":
                return f"minutes-{self.minutes:g}-seed-{seed}"
            case "tuned":
                return f"tuned-minutes-{self.minutes:g}-seed-{seed}"
            case _:
                return f"{self.name.replace(' ', '-')}-{fingerprint}"

    def commands(self, data: Path, folder: Path, seed: int) -> dict[str, list[str]]:
        """Return the words of the user's commands by label, the last of which writes filled.nc into the folder."""
        run, bundle, filled = (str(folder / part) for part in PARTS)
        fill = ["fill", str(data), filled]
        timed = ["--minutes", f"{self.minutes:g}", "--seed", str(seed)] if self.minutes is not None else []
        match self.name:
            case "trained":
                return {
                    "train": ["train", str(data), "--out", run, *timed],
                    "export": ["export", run, bundle],
                    "fill": [*fill, "--bundle", bundle],
                }
            case "tuned":
                return {"tune": ["tune", str(data), "--out", bundle, *timed], "fill": [*fill, "--bundle", bundle]}
            case _:
                return {"fill": fill if self.bundle is None else [*fill, "--bundle", self.bundle]}


PARTS = ("run", "bundle", "filled.nc")


def chosen_systems(
    words: str,
    minutes: float,
    seeds: int,
    general: str | None,
    untrained: str | None,
    trained_seeds: int | None = None,
) -> tuple[System, ...]:
    """Return the systems named in `words`, with commas between, and the mix of guesses where `untrained` is given.

    Args:
        words: names of CHOICES.
        minutes: of training from nothing.
        seeds: number of seeds of the systems that are trained.
        general: the bundle that fills zero-shot; None takes the default one.
        untrained: a general bundle whose network is not trained.
        trained_seeds: number of seeds of training from nothing; None for as many as `seeds`.

    Raises:
        SystemExit: a name is unknown.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    unknown = sorted(set(names) - set(CHOICES))
    if unknown or not names:
        raise SystemExit(f"no system is called {', '.join(unknown)!r}; there are {', '.join(CHOICES)}")
    every = tuple(range(seeds))
    known = {
        ZERO_SHOT: System(ZERO_SHOT, bundle=general),
        TUNED: System(TUNED, TUNE_MINUTES, seeds=every),
        TRAINED: System(TRAINED, minutes, seeds=every if trained_seeds is None else tuple(range(trained_seeds))),
    }
    mix = () if untrained is None else (System(MIX, bundle=untrained),)
    return (*(known[name] for name in CHOICES if name in names), *mix)
