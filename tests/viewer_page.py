"""What the tests of the viewer share: a page that shows volumes at a click, their files, looks at its canvases."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from demos.slice_phantom import phantom
from medgen.volume import Volume

# A page with a viewer and a button for everything that it is to show.
PAGE = """
import sys
from dataclasses import replace
from pathlib import Path
import gradio as gr, numpy as np
from demos import viewer, widgets
from medgen.read_volume import read_volume
from medgen.view_volume import film, view
folder = Path({folder!r})

def one(name, modality="MR"):
    volume = read_volume(folder / f"{{name}}.nii.gz", modality)
    return view(replace(volume, synthetic=name == "made"), title=name)

def walk():
    first = read_volume(folder / "made.nii.gz")
    frames = [replace(first, array=first.array + np.float32(100 * i), synthetic=True) for i in range(4)]
    return film(frames, title="walk", names=["start", "second", "third", "end"])

SHOWN = dict(
    oblique=lambda: viewer.shown(one("oblique")),
    corner=lambda: viewer.shown(one("corner")),
    ct=lambda: viewer.shown(one("ct", "CT")),
    head=lambda: viewer.shown(one("head")),
    pair=lambda: viewer.shown(one("made"), None, one("oblique")),
    walk=lambda: viewer.shown(walk()),
    unknown=lambda: viewer.shown(one("unknown")),
    nothing=lambda: viewer.shown(None),
)

def fill(page):
    with gr.Row():
        buttons = [gr.Button(name, min_width=60) for name in SHOWN]
    one = viewer.viewer(label="Volumes", elem_id="viewer")
    for button, act in zip(buttons, SHOWN.values()):
        button.click(act, outputs=one, api_visibility="private")

widgets.launch(widgets.page("Viewer", fill), sys.argv[1:])
"""
MEDIAN_MS = """async () => {
  const slider = document.querySelector('#viewer input[aria-label=Coronal]'), times = [];
  const canvases = [...document.querySelectorAll('#viewer canvas')];
  for (let i = 0; i < 60; i++) {
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 5)));
    const start = performance.now();
    slider.value = (i * 37) % Number(slider.max);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    times.push(performance.now() - start);
    if (!canvases[1].getAttribute('aria-label').includes(`slice ${slider.value} of`)) return 1e9;
  }
  return times.sort((a, b) => a - b)[30];
}"""
WHITE_BELOW = """(canvas) => canvas.getContext('2d').getImageData(0, canvas.height - 14, canvas.width, 10)
  .data.filter((grey, i) => i % 4 === 0 && grey > 200).length"""
BRIGHT = """(canvas) => {
  const { width, height } = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let [x, y, n] = [0, 0, 0];
  for (let i = 0; i < width * height; i++) if (data[4 * i] > 200) { x += i % width; y += Math.floor(i / width); n++; }
  return [x / n / width, y / n / height, n / width / height];
}"""


def save(folder: Path, name: str, array: np.ndarray, affine: np.ndarray | None) -> None:
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    if affine is None:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nib.save(image, folder / f"{name}.nii.gz")


def tilted(axes: str, spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """An affine turned by 9 degrees, with the middle near 0 mm, and axes that run to `axes`."""
    c, s = np.cos(np.radians(9)), np.sin(np.radians(9))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    return Volume(np.zeros(shape, np.float32), affine, "MR", "au").reoriented(axes).affine


def write_all(place: Path) -> None:
    """The files that the page opens."""
    rng = np.random.default_rng(0)
    save(
        place, "oblique", rng.integers(0, 3000, (40, 30, 50)).astype(np.int16), tilted("PSR", (2, 3, 2.5), (50, 40, 30))
    )
    save(place, "made", rng.integers(0, 256, (32, 32, 32)).astype(np.uint8), tilted("RAS", (3, 3, 3), (32, 32, 32)))
    corner = np.zeros((40, 40, 40), np.int16)
    corner[2:14, 26:38, 26:38] = 1000  # RAS+: to the left, in front, on top
    stored = Volume(corner.astype(np.float32), np.diag([2.0, 2, 2, 1]), "MR", "au").reoriented("LIP")
    save(place, "corner", stored.array.astype(np.int16), stored.affine)
    save(place, "unknown", corner, None)
    ct = phantom("ct")
    save(place, "ct", ct.array[::2, ::2, ::2].astype(np.int16), ct.affine @ np.diag([2.0, 2, 2, 1]))
    head = np.pad(phantom("t1").array, ((8, 8), (8, 8), (4, 4)))  # 197 x 233 x 189
    save(place, "head", head.astype(np.uint8), np.eye(4))
