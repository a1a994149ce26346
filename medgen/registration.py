"""Rigid registration of two scans of one head, with SimpleITK, which is imported only here and only when needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from medgen.errors import MedgenError
from medgen.volume import Volume

MAX_SHEAR_DEGREES = 0.5
_SAMPLES = 100_000
"""Voxels looked at in each step, or all where there are fewer."""
_SHRINK = (4, 2, 1)
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class MissingLibraryError(MedgenError):
    """A library that this task alone needs is not installed."""


@dataclass(frozen=True)
class Rigid:
    """How the head of `moving` lies against that of `fixed`.

    Args:
        matrix: `(4, 4)`, from millimetres of `fixed` to those of `moving`, RAS+.
        rotation_degrees: by how much it turns.
        shift_mm: how far it moves the middle of `fixed`.
        before: mutual information where the headers put the two; higher is better.
        after: the same after registration.
    """

    matrix: np.ndarray
    rotation_degrees: float
    shift_mm: float
    before: float
    after: float


def register(fixed: Volume, moving: Volume, seed: int = 0) -> Rigid:
    """Finds the turn and shift that brings `moving` onto `fixed`; both stay as they are.

    Mattes mutual information (50 bins, 100,000 voxels), three resolutions, regular-step gradient descent from where
    the headers put the two, or from middle on middle where they do not meet there. One thread: the same on every run.

    Args:
        fixed: the volume to match.
        moving: another contrast of the same head.
        seed: of the voxels that are looked at.

    Raises:
        MissingLibraryError: SimpleITK is not installed.
        MedgenError: a volume is sheared, or they have nothing in common.

    Source: Mattes et al., IEEE TMI 2003 (PET-CT image registration in the chest using free-form deformations).
    """
    sitk = _simpleitk()
    one, other = _image(sitk, fixed), _image(sitk, moving)
    try:
        start = _start(sitk, one, other, fixed, moving)
        method = _method(sitk, fixed.array.size, seed)
        method.SetInitialTransform(sitk.Euler3DTransform(start), inPlace=False)
        before = -float(method.MetricEvaluate(one, other))
        found = sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(one, other)).GetBackTransform())
        final = _method(sitk, fixed.array.size, seed)
        final.SetInitialTransform(found, inPlace=False)
        after = -float(final.MetricEvaluate(one, other))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:160]
        raise MedgenError(f"The two volumes cannot be registered ({reason}).") from error
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(found.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = found.TransformPoint((0.0, 0.0, 0.0))
    matrix = _LPS @ matrix @ _LPS
    middle = fixed.world((np.array(fixed.array.shape) - 1) / 2)
    shift = float(np.linalg.norm(matrix[:3, :3] @ middle + matrix[:3, 3] - middle))
    angle = float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
    return Rigid(matrix, angle, shift, before, after)


def _simpleitk() -> Any:
    try:
        return import_module("SimpleITK")
    except ImportError as error:
        raise MissingLibraryError(
            "Registration needs SimpleITK, which is not installed: run pip install 'SimpleITK>=2.4,<3', or leave pairs "
            "on different grids out with --no-register."
        ) from error


def _image(sitk: Any, volume: Volume) -> Any:
    if volume.shear_degrees > MAX_SHEAR_DEGREES:
        raise MedgenError("A volume with a tilted gantry cannot be registered; resample it to right angles first.")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))  # (Z, Y, X)
    lps = _LPS @ volume.affine
    u, _, vt = np.linalg.svd(lps[:3, :3] / volume.spacing_mm)  # ITK wants right angles to the last digit
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection((u @ vt).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _start(sitk: Any, one: Any, other: Any, fixed: Volume, moving: Volume) -> Any:
    """No move at all where the middle of each lies in the other, else middle on middle; turns are around the middle."""
    middles = [v.world((np.array(v.array.shape) - 1) / 2) for v in (fixed, moving)]
    meet = all(
        ((v.voxel(middle) >= 0) & (v.voxel(middle) <= np.array(v.array.shape) - 1)).all()
        for v, middle in ((fixed, middles[1]), (moving, middles[0]))
    )
    if not meet:
        geometry = sitk.CenteredTransformInitializerFilter.GEOMETRY
        return sitk.CenteredTransformInitializer(one, other, sitk.Euler3DTransform(), geometry)
    start = sitk.Euler3DTransform()
    start.SetCenter((_LPS[:3, :3] @ middles[0]).tolist())
    return start


def _method(sitk: Any, n_voxels: int, seed: int) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # the sum over threads would depend on their order
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    parts = [min(1.0, _SAMPLES * shrink**3 / n_voxels) for shrink in _SHRINK]
    method.SetMetricSamplingPercentagePerLevel(parts, seed + 1)  # 0 would take the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=150, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(_SHRINK))
    method.SetSmoothingSigmasPerLevel([3.0, 1.5, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method
