"""A volume knows left from right, and shows it: checked on anatomy, against labels and in real scans."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from volumes import FREESURFER, MUSE, centre_mm, oblique, on_this_disk, shipped, volume

from medgen import MedgenError
from medgen.read_volume import read_volume
from medgen.volume import PLANES, Volume, grid_difference

IXI = "IXI132-HH-1415"


def heads():
    """Label volumes of real heads, in the orientations they were stored in, and their codes."""
    ixi = on_this_disk("ixi_t1_2mm", "brain_labels", f"{IXI}-DLMUSE.nii.gz")
    maps = on_this_disk("head_label_maps_2mm", "training_seg_01.nii.gz")
    return [(read_volume(ixi), MUSE), (read_volume(maps), FREESURFER)]


# --- geometry


def test_reorientation_moves_no_voxel_in_space():
    one = volume()
    assert one.axes == "LPS" and one.spacing_mm == pytest.approx((0.7, 0.9, 2.5))
    for axes in ("RAS", "PSR", "LIA", "IRP"):
        turned = one.reoriented(axes)
        assert turned.axes == axes
        for ijk in ((0, 0, 0), (8, 6, 4), (2, 5, 1)):
            there = turned.voxel(one.world(np.array(ijk)))
            np.testing.assert_allclose(there, np.rint(there), atol=1e-9)
            assert turned.array[tuple(np.rint(there).astype(int))] == one.array[ijk]
        again = turned.reoriented("LPS")
        np.testing.assert_array_equal(again.array, one.array)
        np.testing.assert_allclose(again.affine, one.affine, atol=1e-12)


def test_canonical_is_what_nibabel_calls_canonical():
    one = volume()
    theirs = nib.as_closest_canonical(nib.Nifti1Image(one.array, one.affine))
    np.testing.assert_array_equal(one.canonical().array, theirs.get_fdata())
    np.testing.assert_allclose(one.canonical().affine, theirs.affine)


def test_each_plane_has_its_spacing_and_letters():
    one = volume()
    assert [one.count(plane) for plane in PLANES] == [5, 7, 9]
    expected = {"axial": ("RLAP", (0.9, 0.7)), "coronal": ("RLSI", (2.5, 0.7)), "sagittal": ("APSI", (2.5, 0.9))}
    for plane, (edges, spacing) in expected.items():
        section = one.section(plane, 1)
        assert "".join(section.edges) == edges and section.spacing_mm == pytest.approx(spacing)
        np.testing.assert_array_equal(section.pixels, one.sections(plane)[1])
    # stored to the left and to the back: an axial slice is what is stored; coronal slices count towards the face
    np.testing.assert_array_equal(one.section("axial", 1).pixels, one.array[:, :, 1].T)
    np.testing.assert_array_equal(one.section("coronal", 0).pixels, one.array[:, -1, ::-1].T)
    np.testing.assert_array_equal(one.section("sagittal", 0).pixels, one.array[-1, :, ::-1].T)


def test_translated_slices_go_back_to_their_places():
    for axes in ("LPS", "PSR", "RAI"):
        one = volume().reoriented(axes)
        for plane in PLANES:
            made = one.with_sections(plane, one.sections(plane) * 2, modality="CT", unit="HU")
            np.testing.assert_array_equal(made.array, one.array * 2)
            np.testing.assert_allclose(made.affine, one.affine, atol=1e-12)
            assert (made.modality, made.unit, made.synthetic, made.axes) == ("CT", "HU", True, axes)
    with pytest.raises(MedgenError, match="must be"):
        one.with_sections("axial", np.zeros((1, 2, 3), np.float32), modality="CT", unit="HU")


def test_one_grid_in_another_order_of_axes_is_one_grid():
    one = volume()
    assert grid_difference(one, one.reoriented("PSR")) is None
    moved = oblique()
    moved[0, 3] += 0.5
    assert "0.50 mm apart" in grid_difference(one, volume(affine=moved))
    turned = oblique() @ np.diag([1, 1, 1.02, 1])
    assert "mm apart" in grid_difference(one, volume(affine=turned))
    assert "voxels" in grid_difference(one, volume((9, 7, 6)))
    unknown = Volume(one.array, one.affine, "MR", "au", oriented=False)
    assert "orientation" in grid_difference(one, unknown)


def test_the_tilt_of_a_gantry_is_seen():
    assert volume().shear_degrees == pytest.approx(0.0, abs=1e-6)
    tilted = np.diag([-0.5, -0.5, 5.0, 1.0])
    tilted[1, 2] = 5.0 * np.tan(np.radians(15))
    assert volume(affine=tilted).shear_degrees == pytest.approx(15.0)


def test_a_volume_that_is_none_is_refused():
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    skewed = np.eye(4)
    skewed[:3, 1] = (1, 0.01, 0)
    array = np.zeros((2, 2, 2), np.float32)
    for bad, affine in ((array.astype(np.float64), np.eye(4)), (array[0], np.eye(4)), (array, flat), (array, skewed)):
        with pytest.raises(MedgenError):
            Volume(bad, affine, "MR", "au")
    for axes in ("RAP", "RA", "XYZ", "RRA"):
        with pytest.raises(MedgenError, match="such as RAS"):
            volume().reoriented(axes)
    with pytest.raises(MedgenError, match="choose from 0 to 4"):
        volume().section("axial", 5)
    with pytest.raises(MedgenError, match="no plane"):
        volume().section("oblique", 0)


# --- anatomy


def test_labelled_heads_have_left_on_the_left_and_the_stem_below():
    for labels, code in heads():
        left, right = centre_mm(labels, code["left"]), centre_mm(labels, code["right"])
        assert right[0] - left[0] > 35  # hippocampi, 4 to 6 cm apart
        assert centre_mm(labels, code["stem"])[2] < min(left[2], right[2]) - 5
        assert centre_mm(labels, code["cerebellum"])[1] < left[1] - 15
        # on screen: the left one is on the right of axial and coronal slices, the stem further down, and the cerebellum
        # on the right of sagittal slices, which face left
        middle = {
            plane: {part: np.argwhere(labels.sections(plane) == code[part]).mean(axis=0) for part in code}
            for plane in PLANES
        }
        for plane in ("axial", "coronal"):
            assert middle[plane]["left"][2] > middle[plane]["right"][2] + 15
        assert middle["coronal"]["stem"][1] > middle["coronal"]["left"][1] + 2
        assert middle["sagittal"]["cerebellum"][2] > middle["sagittal"]["left"][2] + 7
        assert middle["axial"]["cerebellum"][1] > middle["axial"]["left"][1] + 7
        assert middle["axial"]["stem"][0] < middle["axial"]["left"][0]  # axial slices count towards the head


def test_a_head_looks_left_in_sagittal_slices_and_up_in_axial_ones():
    """The nose: in the midplane of a whole head, the foremost tissue at the height of the face is a narrow ridge."""
    head = read_volume(on_this_disk("ixi_t1_2mm", "IXI-T1", f"{IXI}-T1.nii.gz"))
    assert head.axes == "PSR"
    tissue = head.sections("axial") > 0.1 * np.percentile(head.array, 99)  # (N, H, W)
    # the tip of the nose is the uppermost tissue of all axial slices, in the middle between the ears
    slices, rows, columns = np.nonzero(tissue)
    tip = np.argmin(rows)
    width = columns.max() - columns.min()
    assert abs(columns[tip] - (columns.max() + columns.min()) / 2) < 0.2 * width
    brain = np.argwhere(read_volume(on_this_disk("ixi_t1_2mm", "brain_labels", f"{IXI}-DLMUSE.nii.gz"))
                        .sections("axial") > 0)  # fmt: skip
    assert slices[tip] < brain[:, 0].mean()  # and below the middle of the brain
    sagittal = head.sections("sagittal") > 0.1 * np.percentile(head.array, 99)
    _, face_rows, face_columns = np.nonzero(sagittal)
    assert face_rows[np.argmin(face_columns)] > 0.4 * sagittal.shape[1]  # the nose points left, in the lower part


def test_a_ct_stored_upside_down_shows_spine_below_and_liver_on_the_left_of_the_screen():
    """Orientation (1, 0, 0, 0, -1, 0): its rows run to the front, so that a plain reader shows it upside down."""
    ct = read_volume(shipped("explicit_VR-UN.dcm"))
    assert (ct.axes, ct.unit, ct.modality) == ("LAI", "HU", "CT")
    shown = ct.section("axial", 0)
    assert "".join(shown.edges) == "RLAP"
    body = np.argwhere((shown.pixels > -100) & (shown.pixels < 250)).mean(axis=0)
    bone = np.argwhere(shown.pixels > 300).mean(axis=0)
    assert bone[0] > body[0] + 30
    middle = shown.pixels[200:330]  # the height of the liver
    liver = (middle > 80) & (middle < 140)  # contrast-enhanced
    assert liver[:, : int(body[1]) - 60].sum() > 2 * liver[:, int(body[1]) + 60 :].sum()


def test_a_real_spine_points_backwards_and_the_aorta_lies_left():
    ct = read_volume(shipped("CT_small.dcm"))
    bone = np.argwhere(ct.array[:, :, 0] > 300)
    ends = ct.world(np.c_[bone, np.zeros(len(bone))])
    body_y, process_y = ends[:, 1].max(), ends[:, 1].min()
    air = ct.array[:, :, 0] < -500
    assert process_y < body_y - 40 and not air.all()
    aorta = np.argwhere((ct.array[:, :, 0] > 120) & (ct.array[:, :, 0] < 280))
    front = ct.world(np.c_[aorta, np.zeros(len(aorta))])
    front = front[front[:, 1] > body_y - 15]  # in front of the middle of the vertebra
    assert np.median(front[:, 0]) < np.median(ends[:, 0])  # RAS+: left is negative
