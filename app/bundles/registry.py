"""The loaded bundles, and the choice of one for a request."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.codecs.base import VariableId
from app.errors import AmbiguousBundleError, UnknownBundleError
from hydrofill.bundle import MANIFEST, read_bundle
from hydrofill.errors import BundleError, ProviderError
from hydrofill.inference.graphs import Runtime, check_provider
from hydrofill.inference.model import Model, load_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Registry:
    """The loaded models, at least one.

    models: by the bundle's name, in alphabetical order. folders: by the bundle's folder. refused: the folders whose
    bundle was refused when they were last read.
    """

    models: Mapping[str, Model]
    folders: Mapping[str, Model]
    refused: frozenset[str] = frozenset()

    def get(self, name: str) -> Model:
        """Return the model of the bundle called `name`.

        Raises:
            UnknownBundleError: no bundle of that name is loaded.
        """
        if name not in self.models:
            raise UnknownBundleError(f"no bundle {name!r} is loaded", expected=f"one of {list(self.models)}")
        return self.models[name]

    @property
    def general(self) -> list[Model]:
        """The models of general bundles, which fill any variable."""
        return [model for model in self.models.values() if model.layout.general]

    def knowing(self, variables: Sequence[VariableId]) -> list[Model]:
        """Return the models of the bundles of named variables that know at least one of these variables."""
        named = (model for model in self.models.values() if not model.layout.general)
        return [model for model in named if any(_knows(model, variable) for variable in variables)]

    def choose(self, variables: Iterable[VariableId]) -> Model:
        """Return the model for these variables: the only one loaded, or the only one with all known variables.

        A variable is known if any loaded bundle has it.

        Raises:
            AmbiguousBundleError: no bundle or several bundles suit; names the choices.
        """
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        known = {name: {v.name for v in variables if _knows(model, v)} for name, model in self.models.items()}
        wanted = set().union(*known.values())
        return self.only([self.models[name] for name in known if wanted and known[name] == wanted])

    def only(self, models: Sequence[Model]) -> Model:
        """Return the only one of these models.

        Raises:
            AmbiguousBundleError: there is not exactly one; names the choices.
        """
        if len(models) != 1:
            names = [model.manifest.name for model in models]
            raise AmbiguousBundleError(
                "the bundle must be named", where="query/bundle", expected=f"one of {names or list(self.models)}"
            )
        return models[0]


def load_registry(folder: Path, runtime: Runtime, last: Registry | None = None) -> Registry:
    """Load the valid bundles in `folder`, of each name the highest version. Invalid ones are logged and left out.

    Args:
        folder: holds one folder per bundle.
        runtime: what runs the graphs.
        last: the registry that is served now. Its unchanged models are taken over as they are; where a folder has
            become invalid, its last valid model stays.

    Raises:
        BundleError: `folder` does not exist or holds no valid bundle.
        ProviderError: the execution provider is not available.
    """
    check_provider(runtime)
    if not folder.is_dir():
        raise BundleError("there is no such folder of bundles", got=folder)
    found: dict[str, Model] = {}  # by folder
    refused = set()
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and _holds_bundle(p, last)):
        try:
            found[path.name] = _load(path, runtime, last)
        except ProviderError:
            raise
        except Exception as error:  # whatever a stranger's bundle causes, the others are served
            logger.error("bundle refused: %s", error if isinstance(error, BundleError) else f"{path.name}: {error!r}")
            refused.add(path.name)
            if last is not None and path.name in last.folders:
                found[path.name] = last.folders[path.name]
    names = sorted({model.manifest.name for model in found.values()})
    chosen = {name: _newest(name, found.values(), last) for name in names}
    models = {name: model for name, model in chosen.items() if model is not None}
    if not models:
        raise BundleError("holds no bundle that can be used", where=folder.name, expected=f"folders with {MANIFEST}")
    for name, model in models.items():
        if last is None or last.models.get(name) is not model:
            logger.info("bundle loaded: %s %s", name, model.manifest.version)
    return Registry(models, found, frozenset(refused))


def _holds_bundle(path: Path, last: Registry | None) -> bool:
    """Return whether a folder holds a bundle, or held one in `last`: without a manifest, that bundle is invalid."""
    return (path / MANIFEST).exists() or (last is not None and path.name in last.folders)


def _load(path: Path, runtime: Runtime, last: Registry | None) -> Model:
    bundle = read_bundle(path)
    loaded = () if last is None else last.folders.values()
    same = next((model for model in loaded if model.sha256 == bundle.sha256), None)
    return same or load_model(bundle, runtime)


def _newest(name: str, models: Iterable[Model], last: Registry | None) -> Model | None:
    """Return the model of the highest version; if several folders have that version, the one served last, if any."""
    called = {model.sha256: model for model in models if model.manifest.name == name}
    versions = {sha256: _version(model) for sha256, model in called.items()}
    newest = [called[sha256] for sha256, version in versions.items() if version == max(versions.values())]
    if len(newest) == 1:
        return newest[0]
    logger.error("bundle refused: %s folders hold a bundle called %s of one version", len(newest), name)
    return None if last is None else last.models.get(name)


def _version(model: Model) -> tuple[int, ...]:
    return tuple(int(part) for part in model.manifest.version.split("."))


def _knows(model: Model, variable: VariableId) -> bool:
    specs = model.layout.variables
    return any(
        variable.name == s.name or (s.standard_name and variable.standard_name == s.standard_name) for s in specs
    )
