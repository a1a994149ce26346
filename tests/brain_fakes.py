"""Made-up heads in the layout of the IXI download, for tests of axial slices."""

import nibabel as nib
import numpy as np

SUBJECTS = {
    "IXI162": "train",
    "IXI174": "train",
    "IXI206": "train",
    "IXI132": "val",
    "IXI274": "test",
    "IXI316": "test",
}
"""Six of the published manifest, and their sides."""
SPACING = 6.0
SHAPE = (30, 36, 30)
RADII_MM = (60.0, 75.0, 54.0)


def head(shift_mm=(0.0, 0.0, 0.0), scale=1.0):
    """`(X, Y, Z)` scan and mask, RAS: an ellipsoid that is brighter to the right, the front and above, in a shell."""
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    x, y, z = (axis - shift for axis, shift in zip((x, y, z), shift_mm, strict=True))
    inside = sum((axis / (scale * radius)) ** 2 for axis, radius in zip((x, y, z), RADII_MM, strict=True)) <= 1.0
    shell = ~inside & (
        sum((axis / (scale * radius + 9)) ** 2 for axis, radius in zip((x, y, z), RADII_MM, strict=True)) <= 1.0
    )
    scan = np.where(inside, 400.0 + 2.0 * z + 0.5 * x + 0.8 * y, np.where(shell, 900.0, 5.0))
    return scan.astype(np.float32), inside.astype(np.uint8)


def write(folder, subject, scan, mask, axes="RAS"):
    """One head as two NIfTI files, its voxels stored along `axes`."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    for place, name, array in (("IXI-T1", "T1", scan), ("brain_labels", "DLMUSE", mask)):
        image = nib.Nifti1Image(array, affine)
        wanted = nib.orientations.axcodes2ornt(axes)
        image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted))
        (folder / place).mkdir(parents=True, exist_ok=True)
        nib.save(image, folder / place / f"{subject}-HH-1-{name}.nii.gz")


def ixi(folder):
    """Six heads of different size and place in `folder`."""
    for i, subject in enumerate(SUBJECTS):
        scan, mask = head((0.0, 3.0 * i, 6.0 * (i % 3)), 1.0 - 0.03 * i)
        write(folder, subject, scan, mask)
    return folder
