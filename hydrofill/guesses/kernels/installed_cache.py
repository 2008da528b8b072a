"""Read machine code from the folder where the kernels were compiled, even if the folder cannot be written any more.

An image holds the machine code of its kernels, and its file system is read-only. The compiler looks for machine code
only where it could also write. With NUMBA_CACHE_LOCATOR_CLASSES set to the class below, the compiler looks there too.
"""

from __future__ import annotations

from pathlib import Path

from numba.core.caching import InTreeCacheLocator


class InstalledCache(InTreeCacheLocator):
    """Machine code in the folder `__pycache__` beside the source."""

    def ensure_cache_path(self) -> None:
        """Accept the folder if it is there; otherwise make the folder.

        Raises:
            OSError: the folder is not there and cannot be made.
        """
        if not Path(self.get_cache_path()).is_dir():
            super().ensure_cache_path()
