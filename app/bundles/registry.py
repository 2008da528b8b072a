"""The bundles that are loaded, and the choice of one for a request."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.codecs.base import SentVariable
from hydrofill.inference.model import Model, load_model
from hydrofill.inference.graphs import Runtime, check_provider
from app.errors import AmbiguousBundleError, UnknownBundleError
from hydrofill.errors import BundleError
from hydrofill.bundle import MANIFEST, read_bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Registry:
    """Loaded models by name, in the order of their names, at least one; by folder; and the folders refused last."""

    models: Mapping[str, Model]
    folders: Mapping[str, Model]
    refused: frozenset[str] = frozenset()

    def named(self, name: str) -> Model:
        """The model called `name`.

        Raises:
            UnknownBundleError: there is none.
        """
        if name not in self.models:
            raise UnknownBundleError(f"no bundle {name!r} is loaded", expected=f"one of {list(self.models)}")
        return self.models[name]

    def suiting(self, sent: Iterable[SentVariable]) -> Model:
        """The one model for these variables: the only one loaded, or the only one that knows all that any knows.

        Raises:
            AmbiguousBundleError: none or several; names the choices.
        """
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        known = {name: {v.name for v in sent if _knows(model, v)} for name, model in self.models.items()}
        wanted = set().union(*known.values())
        choices = [name for name in known if wanted and known[name] == wanted]
        if len(choices) != 1:
            raise AmbiguousBundleError(
                "the bundle must be named", where="query/bundle", expected=f"one of {choices or list(known)}"
            )
        return self.models[choices[0]]


def load_registry(folder: Path, runtime: Runtime, last: Registry | None = None) -> Registry:
    """The good bundles in `folder`: of each name the highest version. A bad one is left out and logged.

    With the `last` registry, a bundle that has not changed is taken from there as it is, and where a folder has turned
    bad, what it held last stays.

    Raises:
        BundleError: no good bundle is left. ProviderError: the provider is not there.
    """
    check_provider(runtime)
    if not folder.is_dir():
        raise BundleError("there is no such folder of bundles", got=folder)
    found: dict[str, Model] = {}  # by folder
    refused = set()
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and _holds_bundle(p, last)):
        try:
            found[path.name] = _load(path, runtime, last)
        except BundleError as error:
            logger.error("bundle refused: %s", error)
            refused.add(path.name)
            if last is not None and path.name in last.folders:
                found[path.name] = last.folders[path.name]
    names = sorted({model.manifest.name for model in found.values()})
    chosen = {name: _newest(name, found.values(), last) for name in names}
    good = {name: model for name, model in chosen.items() if model is not None}
    if not good:
        raise BundleError("holds no bundle that can be used", where=folder.name, expected=f"folders with {MANIFEST}")
    for name, model in good.items():
        if last is None or last.models.get(name) is not model:
            logger.info("bundle loaded: %s %s", name, model.manifest.version)
    return Registry(good, found, frozenset(refused))


def _holds_bundle(path: Path, last: Registry | None) -> bool:
    """Whether a folder is a bundle's, or was: one without its manifest is then a bad bundle, not none."""
    return (path / MANIFEST).exists() or (last is not None and path.name in last.folders)


def _load(path: Path, runtime: Runtime, last: Registry | None) -> Model:
    bundle = read_bundle(path)
    held = () if last is None else last.folders.values()
    same = next((model for model in held if model.sha256 == bundle.sha256), None)
    return same or load_model(bundle, runtime)


def _newest(name: str, models: Iterable[Model], last: Registry | None) -> Model | None:
    """The one of the highest version; where folders disagree on what that is, the last one served, if any."""
    called = {model.sha256: model for model in models if model.manifest.name == name}
    versions = {sha256: _version(model) for sha256, model in called.items()}
    newest = [called[sha256] for sha256, version in versions.items() if version == max(versions.values())]
    if len(newest) == 1:
        return newest[0]
    logger.error("bundle refused: %s folders hold a bundle called %s of one version", len(newest), name)
    return None if last is None else last.models.get(name)


def _version(model: Model) -> tuple[int, ...]:
    return tuple(int(part) for part in model.manifest.version.split("."))


def _knows(model: Model, sent: SentVariable) -> bool:
    specs = model.layout.variables
    return any(sent.name == s.name or (s.standard_name and sent.standard_name == s.standard_name) for s in specs)
