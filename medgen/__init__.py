"""medgen: generative models for medical images behind one small interface.

    >>> import medgen
    >>> model = medgen.load("ddpm-cxr-128")
    >>> images = model.sample(medgen.Request(seeds=(0, 1), label="normal"))

Importing this package imports no torch: cards, requests and images are plain data.
"""

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator, Request, Stopped
from medgen.image import ImageSet
from medgen.region import Region
from medgen.registry import cards, load

__version__ = "0.1.0"
__all__ = ["Generator", "ImageSet", "MedgenError", "ModelCard", "Region", "Request", "Stopped", "cards", "load"]
