"""`python -m benchmarks.general`: fill kinds of data that a general bundle was not trained on, beside other methods.

For each kind of data (rain, temperature, ...), a bundle is given that was trained without this kind. Crops of the
real files of the kind get gaps, are filled zero-shot, and are scored beside existing methods. Results are kept as JSON
in the folder --work, so that an interrupted benchmark continues; a changed code needs a new folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.fill import fingerprint
from benchmarks.support.fill_cases import (
    Measures,
    figure,
    measure,
    names_of,
    read_case,
    rows_of,
    run_baselines,
    without_truth,
)
from benchmarks.support.fill_report import COVERAGE, KRIGING, STACKED, geometric_mean
from benchmarks.support.general_cases import cases_of, files_of_kinds
from benchmarks.support.harness import machine, save_json, write_page
from export.markdown import markdown_table
from hydrofill import fill, open_bundle

if TYPE_CHECKING:
    from hydrofill.inference.model import Model

logger = logging.getLogger("benchmarks.general")
EXISTING = ("linear_in_time", KRIGING, "dineof", "dineof_then_time", "dct_pls")
METHODS = (STACKED, *EXISTING)
MAX_KRIGED = 60_000  # missing values of a case, above which kriging takes too long
DRAWS = 3


@dataclass(frozen=True)
class Result:
    """One case: its kind of data, its file, and the measures of the zero-shot fill and of other methods by name."""

    kind: str
    file: str
    own: Measures
    others: Mapping[str, Measures]


@dataclass(frozen=True)
class Score:
    """One variable and kind of gap of a case: RMSE and coverage of the fill, and the RMSE of other methods by name."""

    kind: str
    file: str
    variable: str
    gap: str
    rmse: float
    coverage: float
    others: Mapping[str, float]

    @property
    def best(self) -> float:
        """The smallest RMSE of an existing method."""
        return min(rmse for name, rmse in self.others.items() if name in EXISTING)

    def ratio(self, method: str) -> float | None:
        """Return the RMSE of the fill over that of a method, or of the best; None where there is no such ratio."""
        other = self.best if method == "best" else self.others.get(method)
        return self.rmse / other if other and self.rmse else None


def main(words: Sequence[str] | None = None) -> None:
    """Fill and score the cases of every kind of data that a bundle is given for, and write the page."""
    given = _arguments().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    known = files_of_kinds(given.data)
    bundles = chosen_bundles(given.bundle_for, known)
    results = []
    for kind, bundle in bundles.items():
        opened: list[Model] = []
        for file, draw, case in cases_of(known[kind], given.draws, given.work / kind.replace(" ", "-")):
            logger.info("%s: %s, draw %d", kind, file, draw)
            results.append(bench_case(kind, file, case, bundle, opened, given.threads))
    text = report(scores_of(results), bundles, given.draws, machine())
    write_page(given.out, text)


def chosen_bundles(words: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return by kind of data the bundle that was trained without it, from words such as rain=bundles/no-rain.

    Raises:
        SystemExit: a word has another form, or the folder of data has no such kind.
    """
    bundles = {}
    for word in words:
        kind, equals, bundle = word.partition("=")
        if not equals or not bundle or kind not in set(known):
            raise SystemExit(f"--bundle-for {word}: expected KIND=BUNDLE, with a kind of {', '.join(sorted(known))}")
        bundles[kind] = bundle
    return bundles


def bench_case(
    kind: str, file: str, path: Path, bundle: str, opened: list[Model], threads: int | None = None
) -> Result:
    """Fill a case and score the fill and the other methods, or read earlier results.

    Args:
        kind: the kind of data.
        file: the name of the file that the case is a crop of.
        path: the case; results lie beside it.
        bundle: the bundle that fills.
        opened: the same bundle once it is open, so that it is opened once for all cases.
        threads: of the network; None for all cores.
    """
    case = read_case(path)
    kept = path.parent / f"zero-shot-{fingerprint(bundle)}.json"
    if not kept.exists():
        if not opened:
            opened.append(open_bundle(bundle, threads=threads))
        started = time.perf_counter()
        filled = fill(without_truth(case), bundle=opened[0])
        save_json(kept, {"seconds": time.perf_counter() - started, "scores": measure(case, filled)})
    missing = sum(int(np.isnan(case[name].values).sum()) for name in names_of(case))
    methods = [name for name in METHODS if name != KRIGING or missing <= MAX_KRIGED]
    baselines = path.parent / "baselines"
    run_baselines(path, baselines, methods)
    return Result(kind, file, _scores(kept), {name: _scores(baselines / f"{name}.json") for name in methods})


def _scores(path: Path) -> Measures:
    scores: Measures = json.loads(path.read_text(encoding="utf-8"))["scores"]
    return scores


def scores_of(results: Iterable[Result]) -> list[Score]:
    """Return the scores of each variable and kind of gap of each case."""
    scores = []
    for result in results:
        for variable, gap in rows_of(result.own):
            found = {name: figure(of, variable, gap) for name, of in result.others.items()}
            others = {name: rmse for name, rmse in found.items() if rmse is not None}
            rmse, coverage = (figure(result.own, variable, gap, name) for name in ("rmse", "coverage90"))
            if rmse is not None and coverage is not None and others:
                scores.append(Score(result.kind, result.file, variable, gap, rmse, coverage, others))
    return scores


def report(scores: Sequence[Score], bundles: Mapping[str, str], draws: int, where: str) -> str:
    """Return the whole page."""
    named = "; ".join(f"{kind}: `{Path(bundle).name}`" for kind, bundle in bundles.items())
    parts = [
        "# Kinds of data that the network was not trained on",
        f"Written by `python -m benchmarks.general`. {where}. Each kind of data is filled by a general bundle that was "
        f"trained without this kind ({named}). Cases are crops of real files, {draws} for each file, each with gaps of "
        "its own.",
        "Figures are RMSE over the RMSE of another method, geometric means over cases; below 1, hydrofill is better. "
        "The best existing method is chosen for each case, variable and kind of gap with hindsight among "
        f"{', '.join(f'`{name}`' for name in EXISTING)}. `stacked` uses the first guesses of hydrofill. Kriging is "
        f"left out above {MAX_KRIGED:,} missing values.",
        "## In all",
        _table({kind: [s for s in scores if s.kind == kind] for kind in bundles} | {"all kinds": list(scores)}, "kind"),
        _outside(scores),
    ]
    for kind in bundles:
        own = [score for score in scores if score.kind == kind]
        by_gap = {gap: [s for s in own if s.gap == gap] for gap in dict.fromkeys(s.gap for s in own)}
        by_file = {file: [s for s in own if s.file == file] for file in dict.fromkeys(s.file for s in own)}
        parts += [f"## {kind}", _table(by_gap, "gap"), _table(by_file, "file")]
    return "\n\n".join(parts) + "\n"


def _table(groups: Mapping[str, Sequence[Score]], head: str) -> str:
    """Return a table of groups of scores: ratios to every method, and the coverage of the 90 % interval."""
    heads = [head, "rows", "best existing", *(f"`{name}`" for name in METHODS), "in 90 % interval"]
    rows = []
    for name, scores in groups.items():
        if not scores:
            continue
        ratios = [_ratio(scores, method) for method in ("best", *METHODS)]
        rows.append([name, str(len(scores)), *ratios, f"{np.mean([s.coverage for s in scores]):.2f}"])
    return markdown_table(heads, rows)


def _ratio(scores: Iterable[Score], method: str) -> str:
    found = [ratio for score in scores if (ratio := score.ratio(method)) is not None]
    return f"{geometric_mean(found):.2f}" if found else ""


def _outside(scores: Sequence[Score]) -> str:
    """Return the kinds of data and of gap whose coverage is outside the limits."""
    groups = {(s.kind, s.gap): [o.coverage for o in scores if (o.kind, o.gap) == (s.kind, s.gap)] for s in scores}
    means = {pair: float(np.mean(found)) for pair, found in groups.items()}
    wrong = [
        f"{kind} {gap} {mean:.2f}" for (kind, gap), mean in means.items() if not COVERAGE[0] <= mean <= COVERAGE[1]
    ]
    left_out = sum(score.ratio("best") is None for score in scores)
    return (
        f"Coverage of the 90 % interval outside {COVERAGE}, mean over cases: {', '.join(wrong) or 'none'}. "
        f"Rows without a ratio, because a method has no error at all: {left_out}."
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.general", description=main.__doc__)
    parser.add_argument("data", type=Path, help="folder of real files, as pretraining takes it")
    parser.add_argument(
        "--bundle-for",
        action="append",
        required=True,
        metavar="KIND=BUNDLE",
        help="general bundle that was trained without a kind of data, such as rain=bundles/no-rain; once for each kind",
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="crops and draws of gaps of each file")
    parser.add_argument("--threads", type=int, help="threads of the network; by default all cores")
    parser.add_argument("--out", type=Path, default=Path("docs/results/general.md"), help="Markdown file to write")
    parser.add_argument("--work", type=Path, default=Path("out/bench-general"), help="folder of cases and results")
    return parser


if __name__ == "__main__":
    main()
