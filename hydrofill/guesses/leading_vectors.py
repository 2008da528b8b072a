"""Find the leading patterns of a record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydrofill.cancellation import checkpoint

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MAX_EXACT = 128  # larger matrices have their leading vectors by iteration
MORE_VECTORS = 8  # beyond those that are wanted, so that the iteration converges fast
ROUNDS = 8  # of the iteration


def leading_patterns(anomaly: Floats, rank: int) -> Floats:
    """Return the leading right singular vectors of the anomalies (T, N), each of length 1, (rank, N).

    A pattern beyond the rank of the record is zero.
    """
    n_time, n_cells = anomaly.shape
    if n_time <= n_cells:
        vectors = leading_vectors(anomaly @ anomaly.T, rank)
        patterns = vectors.T.astype(np.float32) @ anomaly
    else:
        patterns = leading_vectors(anomaly.T @ anomaly, rank).T.astype(np.float32)
    size = np.sqrt(np.einsum("kn,kn->k", patterns, patterns, dtype=np.float64))[:, None]
    return np.asarray(patterns / np.maximum(size, 1e-30), np.float32)


def leading_vectors(gram: Floats, rank: int) -> Doubles:
    """Return the leading eigenvectors of a positive semidefinite matrix (n, n), (n, rank).

    Large matrices are multiplied again and again with the same set of vectors, which starts from fixed random numbers.
    Source: Halko, Martinsson and Tropp 2011 (subspace iteration).
    """
    n, number = len(gram), rank + MORE_VECTORS
    if n <= max(MAX_EXACT, 2 * number):
        return np.asarray(np.linalg.eigh(gram.astype(np.float64))[1][:, ::-1][:, :rank])
    basis = np.random.default_rng(0).standard_normal((n, number))
    for _ in range(ROUNDS):
        checkpoint()
        basis = np.linalg.qr((gram @ basis.astype(np.float32)).astype(np.float64))[0]
    image = (gram @ basis.astype(np.float32)).astype(np.float64)
    _, turned = np.linalg.eigh(0.5 * (basis.T @ image + image.T @ basis))
    return np.asarray(basis @ turned[:, ::-1][:, :rank])
