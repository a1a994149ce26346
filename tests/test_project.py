"""The house: README, requirements and the committed models say the same thing."""

import re
from pathlib import Path

import numpy as np
import pytest

import medgen
from eval import board, summary, translation_board
from eval.volumes import rows as volume_rows
from medgen import registry
from medgen.paired import PAIRED
from medgen.volume_sets import VOLUMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIMIT_MB = 200
ROUGH_VOLUMES = {"ixi_brain_64": 0.3, "hippo_48": 0.45}
"""Mean step along z over the standard deviation. Real volumes of all splits, one by one: 0.059 to 0.083 and 0.271 to
0.446. Models, seeds 0 and 1: vae 0.056, ldm 0.056, gan 0.268 (its lattice); 0.243, 0.258, 0.372. Noise: 1.16."""


def test_ci_runs_the_commands_of_the_readme():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install -r requirements.txt && python app.py" in README
    test = "python -m pytest -n 2 --dist loadfile"  # serial, it takes over ten minutes
    assert f"pip install -r requirements-dev.txt && {test}" in README
    for command in ("requirements.txt", "requirements-dev.txt", test, "ruff check", "mypy", "set -euo"):
        assert command in ci


def test_a_space_gets_the_gradio_of_the_requirements():
    sdk = re.search(r"^sdk_version: (.+)$", README, re.MULTILINE).group(1)
    assert f"gradio=={sdk}" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_every_requirement_is_bounded_and_torch_stays_below_cuda():
    files = [ROOT / name for name in ("requirements.txt", "requirements-dev.txt")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
    assert "torch>=2.8,<=2.13.0" in wanted
    assert all("==" in line or "<" in line for line in wanted)
    assert not any(line.startswith(("torchvision", "torch-fidelity")) for line in wanted)


def test_links_and_pictures_of_the_readme_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_table_of_checkpoints_is_the_one_the_cards_and_reports_give():
    written = (ROOT / "checkpoints" / "README.md").read_text(encoding="utf-8")
    assert written == summary.summary(), "run: python -m eval.summary"


@pytest.mark.parametrize("name", sorted(registry.cards()))
def test_a_committed_model_is_whole_and_what_its_card_says(name):
    card = registry.cards()[name]
    folder = card.folder
    for file in ("card.json", "config.json", "log.jsonl"):
        assert (folder / file).exists(), file
    # what a translator makes of a patient's slice shows the patient, and is not shared
    shareable = PAIRED[card.data].shareable if card.translates else len(card.shape) == 3 or VOLUMES[card.data].shareable
    assert (folder / "samples.png").exists() == shareable
    assert card.trained["parameters"] > 0
    assert card.trained["images_seen"] > 0
    asked = medgen.Request(
        (0, 1), label=card.labels[0] if card.labels else None, source=phantom(card) if card.translates else None
    )
    images = medgen.load(name).sample(asked)
    assert images.pixels.shape == (2, *card.shape)
    # pictures, not a constant and not noise: neighbouring pixels agree
    unit = images.unit_range()
    assert unit.std() > 0.05
    # (of noise the ratio is 1.1, of real films 0.1, of real slices of a head, with their edges, 0.2)
    rough = ROUGH_VOLUMES[card.data] if len(card.shape) == 4 else 0.4 if card.translates else 0.2
    assert abs(unit[..., 1:] - unit[..., :-1]).mean() < rough * unit.std()


def phantom(card):
    """A skull, a brain and two ventricles, in the contrast that a translator wants."""
    size = card.shape[-1]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shares = np.zeros((size, size), np.float32)
    for radius, value in ((0.75, 0.8), (0.68, 0.15), (0.62, 0.5)):
        shares[(x / 0.8) ** 2 + y**2 < radius**2] = value
    shares[(abs(x) - 0.1) ** 2 + (y / 2) ** 2 < 0.05**2] = 0.25
    low, high = card.translates["window"]
    pixels = (low + shares * (high - low)).astype(np.float32)[None, None]
    return medgen.ImageSet(pixels, card.translates["modality"], card.translates["unit"], (low, high))


def test_gan_and_diffusion_can_be_shown_side_by_side():
    assert {"gan", "diffusion"} <= {card.family for card in registry.cards(modality="CR").values()}
    assert {"dcgan-cxr-128", "stylegan2-cxr-128", "ddpm-cxr-128"} <= set(registry.cards())


def test_committed_reports_belong_to_the_committed_weights():
    frame = board.rows()
    assert not frame["problem"].any(), frame[["model", "problem"]].to_string()
    measured = set(frame.loc[frame["fid"].notna() & ~frame["family"].isin(board.NO_MODEL), "model"])
    found = translation_board.translations()
    assert not found.problems
    translated = found.frame[(found.frame["family"] != translation_board.BASELINE) & found.frame["ssim"].notna()]
    volumes = volume_rows.volumes()
    assert not volumes.problems
    judged = {model for model, _ in volumes.reports}
    assert set(registry.cards()) == measured | set(translated["model"]) | judged


def test_checkpoints_stay_small():
    files = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LIMIT_MB * 2**20
    # shards written before 21 November 2026 did not count their headers
    assert all(path.stat().st_size <= 16 * 2**20 + 16_384 for path in files)


def test_no_shared_image_is_committed():
    """A real picture in the tree would be a WebP, a DICOM or a NIfTI file, or an archive."""
    tracked = [p for p in ROOT.rglob("*") if p.is_file() and ".git" not in p.parts and "runs" not in p.parts]
    assert not [p for p in tracked if p.suffix in (".webp", ".dcm", ".zip", ".npz") or p.name.endswith(".nii.gz")]
