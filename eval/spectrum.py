"""How much fine and coarse structure images have: their power at each spatial frequency, whatever its direction."""

from __future__ import annotations

import numpy as np

from eval.metrics import checked

_FAINTEST = 1e-12  # power of a picture of one grey value, whose logarithm would be minus infinity


def radial_spectra(pixels: np.ndarray) -> np.ndarray:
    """Mean log power at each whole number of waves across the picture: `(N, C, H, W)` uint8 -> `(N, R)` float64.

    The picture less its mean, under a Hann window (without it the jump between opposite borders would drown fine
    structure), Fourier transformed; log10 of the mean power on rings of one wave's width, from 1 to R, half the
    shorter side. 8-bit pixels on both sides, because rounding is power too.
    """
    n, _, height, width = pixels.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    rows, columns = np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width
    side = min(height, width)
    # waves across the shorter side, as the nearest whole number
    waves = np.rint(np.hypot(rows[:, None] * side / height, columns * side / width)).astype(int)
    # rfft leaves out the mirror image of all columns but the first and, of an even width, the last
    twice = np.full(len(columns), 2.0)
    twice[0] = 1.0
    if width % 2 == 0:
        twice[-1] = 1.0
    weight = np.broadcast_to(twice, waves.shape)
    last = side // 2
    size = np.bincount(waves.ravel(), weight.ravel(), minlength=last + 1)[1 : last + 1]
    found = np.empty((n, last))
    for i in range(n):
        grey = pixels[i].mean(axis=0, dtype=np.float64) / 255.0
        power = np.square(np.abs(np.fft.rfft2((grey - grey.mean()) * window))) / grey.size
        ring = np.bincount(waves.ravel(), (power * weight).ravel(), minlength=last + 1)[1 : last + 1]
        found[i] = np.log10(np.maximum(ring / size, _FAINTEST))
    return found


def spectrum_distance(*, real: np.ndarray, fake: np.ndarray) -> float:
    """Mean over frequencies of the gap between the mean log spectra of two sets, in decibels; 0 = same.

    It sees blur, noise and the checkerboards of upsampling (arXiv:1911.00686 on GANs), and nothing of anatomy.

    Args:
        real: `(N, R)` from `radial_spectra`.
        fake: `(M, R)` likewise.

    Raises:
        MedgenError: no images, other frequencies, or values that are not finite.
    """
    checked(real, fake, least=1, why="a spectrum")
    return float(10.0 * np.abs(real.mean(axis=0) - fake.mean(axis=0)).mean())
