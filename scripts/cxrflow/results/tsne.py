"""The two engines of t-SNE: what `embed.engine` chooses between. Both begin with PCA to 50 dimensions.

`sklearn` is `sklearn.manifold.TSNE` as its documentation calls it: 1,000 iterations, Barnes & Hut's tree.

`opentsne` is the package openTSNE (Policar, Strazar & Zupan 2024, Journal of Statistical Software 109(3)) with its own
defaults but for three things. Neighbours are exact, which at 8,000 images takes a fifth of the time of the approximate
search. Interpolation (Linderman et al. 2019, Nature Methods 16:243) takes the place of the tree where it is cheaper.
And the descent ends where it stands still, as Belkina et al. (2019, Nature Communications 10:5415) propose. It needs
fewer iterations than scikit-learn's because its learning rate grows with the number of images (Belkina et al. 2019;
Kobak & Berens 2019, Nature Communications 10:5416).

The maps of the two engines differ in what t-SNE leaves open, such as where the groups lie; tests hold their
trustworthiness within 0.005 and their Kullback-Leibler divergence within 2 % of each other.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from cxrflow.errors import CxrflowError

PCA_DIMENSIONS = 50  # before t-SNE: suppresses noise and is what scikit-learn's documentation of TSNE recommends

EXAGGERATED_ITERATIONS, EXAGGERATION = 250, 12  # of both packages
MOST_ITERATIONS = 500  # after those: the default of openTSNE
CHECK_EVERY = 50  # iterations; openTSNE, too, looks at the divergence that often
# Of the divergence, per iteration: a smaller fall is standing still. Belkina et al. use 1/5,000; half of that takes a
# third more iterations and leaves a divergence within about 1 % of scikit-learn's.
STILL = 1 / 10_000
INTERPOLATE_FROM = 2_000  # images: with fewer, the grid of the interpolation costs more than Barnes & Hut's tree

Floats = NDArray[np.float32]
Engine = Callable[[Floats, float, int], Floats]


def map_by_sklearn(features: Floats, perplexity: float, seed: int) -> Floats:
    """Return float32 (n, 2) of features float32 (n, d), by scikit-learn."""
    reduced = _reduce_dimensions(features, "full")
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(points, np.float32)


def map_by_opentsne(features: Floats, perplexity: float, seed: int) -> Floats:
    """Return float32 (n, 2) of features float32 (n, d), by openTSNE on one core.

    Raises:
        CxrflowError: openTSNE is not installed.
    """
    n, width = features.shape
    # Where there are more images than features, the covariance gives the same components in a quarter of the time.
    reduced = _reduce_dimensions(features, "covariance_eigh" if n > width else "full")
    embedding = _open_tsne(n, perplexity, seed).prepare_initial(reduced)
    embedding.optimize(EXAGGERATED_ITERATIONS, exaggeration=EXAGGERATION, inplace=True)
    before = np.inf
    for _ in range(MOST_ITERATIONS // CHECK_EVERY):
        embedding.optimize(CHECK_EVERY, inplace=True)
        if before - embedding.kl_divergence < CHECK_EVERY * STILL * embedding.kl_divergence:
            break
        before = embedding.kl_divergence
    return np.asarray(embedding, np.float32)


def _open_tsne(n: int, perplexity: float, seed: int) -> Any:
    """Return openTSNE's estimator; one job, because sums over threads depend on their number."""
    try:
        from openTSNE import TSNE  # here: a study that does not use it runs where it is not installed
    except ImportError as error:
        raise CxrflowError(
            f"embed.engine is opentsne, and the package openTSNE cannot be imported ({error}):"
            " run 'pip install opentsne', or set embed.engine to sklearn"
        ) from error
    method = "fft" if n >= INTERPOLATE_FROM else "bh"
    return TSNE(perplexity=perplexity, neighbors="exact", negative_gradient_method=method, n_jobs=1, random_state=seed)


ENGINES: dict[str, Engine] = {"sklearn": map_by_sklearn, "opentsne": map_by_opentsne}
ENGINE_NAMES = {"sklearn": "scikit-learn", "opentsne": "openTSNE"}


def _reduce_dimensions(features: Floats, solver: str) -> Floats:
    reduction = PCA(min(PCA_DIMENSIONS, *features.shape), svd_solver=solver, random_state=0)
    return np.asarray(reduction.fit_transform(features), np.float32)
