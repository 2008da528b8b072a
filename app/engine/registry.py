"""The bundles that are loaded, and the choice of one for a request."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.codecs.form import SentVariable
from app.engine.model import Model, load_model
from app.engine.sessions import Runtime, check_provider
from app.errors import AmbiguousBundleError, UnknownBundleError
from export.contract.errors import BundleError
from export.contract.manifest import MANIFEST, read_bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Registry:
    """Loaded models by name, in the order of their names; at least one."""

    models: Mapping[str, Model]

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


def load_registry(folder: Path, runtime: Runtime) -> Registry:
    """Every good bundle in `folder`; a bad one is left out and logged, and so are two of one name.

    Raises:
        BundleError: no good bundle is left. ProviderError: the provider is not there.
    """
    check_provider(runtime)
    if not folder.is_dir():
        raise BundleError("there is no such folder of bundles", got=folder)
    models: list[Model] = []
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and (p / MANIFEST).exists()):
        try:
            models.append(load_model(read_bundle(path), runtime))
        except BundleError as error:
            logger.error("bundle refused: %s", error)
    counts = Counter(model.manifest.name for model in models)
    for name in (name for name, count in counts.items() if count > 1):
        logger.error("bundle refused: %s folders hold a bundle called %s", counts[name], name)
    good = {model.manifest.name: model for model in models if counts[model.manifest.name] == 1}
    if not good:
        raise BundleError("holds no bundle that can be used", where=folder.name, expected=f"folders with {MANIFEST}")
    for name, model in sorted(good.items()):
        logger.info("bundle loaded: %s %s", name, model.manifest.version)
    return Registry(dict(sorted(good.items())))


def _knows(model: Model, sent: SentVariable) -> bool:
    specs = model.layout.variables
    return any(sent.name == s.name or (s.standard_name and sent.standard_name == s.standard_name) for s in specs)
