"""Where in a picture something is to change: a mask that can be compared, hashed and written as JSON."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from medgen.errors import MedgenError


@dataclass(frozen=True)
class Region:
    """The pixels of a picture that a model may change; it keeps the others.

    Args:
        shape: height and width of the picture in pixels.
        bits: one bit a pixel, row by row, as `np.packbits` packs them.

    Raises:
        MedgenError: the shape is not two positive whole numbers, or `bits` is not a mask of that shape.
    """

    shape: tuple[int, int]
    bits: bytes

    def __post_init__(self) -> None:
        sides = self.shape
        if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
            raise MedgenError(f"A region needs a height and a width in pixels, not {sides}.")
        # spare bits of the last byte must be zero, so that equal masks are equal regions
        count, spare = sides[0] * sides[1], -sides[0] * sides[1] % 8
        if len(self.bits) * 8 != count + spare or self.bits[-1] & ((1 << spare) - 1):
            raise MedgenError(f"The bits of the region are no mask of {sides[0]} x {sides[1]} pixels; draw it again.")

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Region:
        """The region where `mask`, `(H, W)` bool, is True.

        Raises:
            MedgenError: another shape or type.
        """
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise MedgenError(f"A region is made from a (H, W) bool mask, not {mask.shape} {mask.dtype}.")
        return cls((mask.shape[0], mask.shape[1]), np.packbits(mask).tobytes())

    def mask(self) -> np.ndarray:
        """`(H, W)` bool, True where the picture may change."""
        packed = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(packed, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)

    def is_empty(self) -> bool:
        """Whether no pixel may change."""
        return not any(self.bits)

    def to_json(self) -> dict[str, Any]:
        """`{"shape": [H, W], "bits": base64 of the compressed bits}`: short enough for a DICOM comment."""
        return {"shape": list(self.shape), "bits": base64.b64encode(zlib.compress(self.bits, 9)).decode("ascii")}

    @classmethod
    def from_json(cls, values: object) -> Region:
        """The inverse of `to_json`.

        Raises:
            MedgenError: other keys, or values that make no region.
        """
        if not isinstance(values, dict) or set(values) != {"shape", "bits"} or not isinstance(values["shape"], list):
            raise MedgenError(f'A region must be {{"shape": [H, W], "bits": base64}}, not {str(values)[:100]}.')
        try:
            # a mask of 8192 x 8192 is the most that is unpacked
            bits = zlib.decompressobj().decompress(base64.b64decode(values["bits"], validate=True), 8192 * 1024)
        except (TypeError, ValueError, binascii.Error, zlib.error) as error:
            raise MedgenError(f"The bits of the region cannot be read ({error}); take a whole copy of them.") from error
        return cls(tuple(values["shape"]), bits)
