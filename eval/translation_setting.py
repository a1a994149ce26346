"""What all translators of one direction share: the pairs, the true slices as a set, and the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eval import pairwise
from eval.features import Extractor, content_hash
from eval.pairwise import Perceptual
from eval.protocols import translation
from eval.translation_baselines import BASELINES, TITLES, WITHOUT_SETS
from eval.translation_file import METRICS, OF_SETS
from eval.translation_patients import Entry, Patients, missing, spread, summarise
from eval.translation_sets import RealSide, real_side
from eval.translation_slices import Ground, compare
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.paired import entry, paired


@dataclass(frozen=True)
class Asked:
    """What the command line asks of every model.

    Args:
        protocol: key of `protocols.TRANSLATIONS`.
        split: "test" or "val".
        extractor: feature space of FID and KID.
        limit: pairs at most; None = all.
        samples: of each slice, for models that draw.
        steps: None = the card's.
        repeats: halves for an interval of FID and KID.
        progress: bars on stderr.
    """

    protocol: str
    split: str
    extractor: Extractor
    limit: int | None = None
    samples: int = 4
    steps: int | None = None
    repeats: int = 200
    progress: bool = False


@dataclass(frozen=True, eq=False)
class Setting:
    """One direction, ready to measure models.

    Args:
        asked: by the user.
        direction: such as "t1-t2".
        ground: the pairs to translate.
        whole: whether they are all of the split.
        real: the true slices as a set.
        lpips: None where its weights are not installed.
        no_lpips: why it is None.
        baselines: as a report holds them, without gains.
    """

    asked: Asked
    direction: str
    ground: Ground
    whole: bool
    real: RealSide
    lpips: Perceptual | None
    no_lpips: str
    baselines: dict[str, dict[str, Any]]

    def summarise(self, images: ImageSet, *, intervals: bool, sets: bool = True) -> tuple[dict[str, Entry], Patients]:
        """Every metric of N translated slices, over patients and for each.

        Args:
            images: one for each pair.
            intervals: also of FID and KID, which takes a while.
            sets: whether to measure FID and KID at all.
        """
        found, patients = summarise(compare(self.ground, images, self.lpips), self.ground.pairs.subjects)
        left_out = {name: missing("left out: it would take minutes and say little") for name in OF_SETS}
        found |= self.real.measure(images, intervals=intervals) if sets else left_out
        if self.lpips is None:
            found["lpips"] = missing(self.no_lpips)
        return {name: found[name] for name in METRICS if name in found}, patients

    def pairs_sha256(self) -> str:
        """What "the same pairs" means."""
        pairs = self.ground.pairs
        return content_hash(pairs.source)[:32] + content_hash(pairs.target)[:32]


def prepare(asked: Asked, direction: str) -> Setting:
    """Reads the pairs and measures the baselines, once for all models of a direction.

    Raises:
        MedgenError: the pairs are not here, or do not go that way.
    """
    known = entry(translation(asked.protocol).data)
    if direction not in known.directions:
        raise MedgenError(
            f"{asked.protocol} goes {' or '.join(known.directions)}, not {direction}: choose the protocol of the pairs "
            "that the model has learned from."
        )
    sides = [paired(known.name, split) for split in (asked.split, "train")]
    pairs, train = sides if direction == known.directions[0] else (side.swapped() for side in sides)
    chosen = spread(len(pairs), asked.limit)
    ground = Ground.of(pairs.take(chosen), direction.split("-")[1])
    lpips, reason = _lpips()
    real = real_side(ground.pairs.target, train.target, asked.extractor, asked.repeats, asked.progress)
    setting = Setting(asked, direction, ground, len(chosen) == len(pairs), real, lpips, reason, {})
    for name, make in BASELINES.items():
        made, sets = make(ground.pairs, train), name not in WITHOUT_SETS
        metrics, patients = setting.summarise(made, intervals=False, sets=sets)
        setting.baselines[name] = {"title": TITLES[name], "metrics": metrics, "patients": patients}
    setting.baselines["real"] = {"title": TITLES["real"], "metrics": real.floor, "patients": {}}
    return setting


def _lpips() -> tuple[Perceptual | None, str]:
    try:
        return pairwise.lpips(), ""
    except MedgenError as error:
        return None, str(error)
