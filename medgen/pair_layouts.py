"""Which two scans of one head belong together, in the folders people download: BIDS (OpenNeuro) and IXI. Only names.

In a BIDS folder a scan is a NIfTI file, or a folder or ZIP of a DICOM series with the same name, and a CT may lie in
`anat/` or `ct/` as `*_ct` or `*_CT`: BIDS has no place for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from medgen.errors import MedgenError
from medgen.pair_scan import modality

_NIFTI = (".nii.gz", ".nii")
_IXI = re.compile(r"(IXI\d+)-(?P<site>[A-Za-z]+)-(?P<scan>\d+)-(?P<kind>[A-Za-z0-9]+)")
_IXI_KINDS = {"T1w": "T1", "T2w": "T2", "PDw": "PD"}


@dataclass(frozen=True)
class Candidate:
    """Two scans that may make a pair, or what is there of one.

    Args:
        key: names the pair in file names: `sub-01_ses-1_run-2`, `IXI002-Guys-0828`.
        subject: whose head; all sessions of a subject go to one split.
        session: "" where there is one only.
        source: path of the one scan, a file or a folder of DICOM; None where it is missing.
        target: path of the other.
        refused: why no pair is made of them, where the names already tell.
    """

    key: str
    subject: str
    session: str
    source: Path | None
    target: Path | None
    refused: str = ""


def find_bids(root: Path, source: str, target: str) -> list[Candidate]:
    """Pairs of a BIDS folder: `sub-*/[ses-*/]{anat,ct}/*_{source,target}.nii[.gz]`, `derivatives/` left alone.

    In a session, scans with equal entities (run, acq, ...) go together; else its first source with its first target.
    Every other scan of these kinds is listed as refused.

    Raises:
        MedgenError: no such folder, or nothing in it is named so.
    """
    sessions: dict[tuple[str, str], dict[str, dict[str, Path]]] = defaultdict(lambda: {source: {}, target: {}})
    kinds = {kind.upper() if modality(kind) == "CT" else kind: kind for kind in (source, target)}
    types = ("anat", "ct") if "CT" in kinds else ("anat",)
    _folder(root)
    for place in (
        place for start in ("sub-*", "sub-*/ses-*") for name in types for place in root.glob(f"{start}/{name}")
    ):
        parts = place.relative_to(root).parts
        key = (parts[0], parts[1] if len(parts) == 3 else "")
        for path in sorted(place.iterdir()):
            entities, _, suffix = _scan_stem(path).rpartition("_")
            kind = kinds.get("CT" if modality(suffix) == "CT" else suffix)
            if kind is not None and entities:
                sessions[key][kind].setdefault(entities, path)
    if not sessions:
        raise MedgenError(
            f"{root.name} holds no sub-*/anat/*_{source}.nii.gz or *_{target}.nii.gz; give the folder of a BIDS set."
        )
    return [
        candidate
        for (subject, session), scans in sorted(sessions.items())
        for candidate in _session(subject, session, scans[source], scans[target], source, target)
    ]


def _session(
    subject: str, session: str, sources: dict[str, Path], targets: dict[str, Path], source: str, target: str
) -> list[Candidate]:
    whole = "_".join(part for part in (subject, session) if part)
    if not (sources and targets):
        missing = target if sources else source
        path = min((sources or targets).values())
        one, other = (path, None) if sources else (None, path)
        return [Candidate(whole, subject, session, one, other, f"no {missing} in this session")]
    equal = sorted(set(sources) & set(targets))
    matched = [(e, sources[e], targets[e]) for e in equal] or [(whole, min(sources.values()), min(targets.values()))]
    pairs = [Candidate(key, subject, session, scan, goal) for key, scan, goal in matched]
    used = {path for pair in pairs for path in (pair.source, pair.target)}
    for kind, scans in ((source, sources), (target, targets)):
        for entities, path in sorted(scans.items()):
            if path not in used:
                one, other = (path, None) if kind == source else (None, path)
                why = f"another {kind} of this session is used"
                pairs.append(Candidate(f"{entities}_{kind}", subject, session, one, other, why))
    return pairs


def find_ixi(root: Path, source: str, target: str) -> list[Candidate]:
    """Pairs of an IXI folder: `IXI002-Guys-0828-T1.nii.gz` and `-T2.nii.gz`, in one folder or in `IXI-T1/`, `IXI-T2/`.

    Raises:
        MedgenError: no such folder, a kind that IXI does not have, or nothing in it is named so.
    """
    kinds = [_IXI_KINDS.get(kind, kind) for kind in (source, target)]
    if unknown := [kind for kind in kinds if kind not in _IXI_KINDS.values()]:
        raise MedgenError(f"IXI has no {unknown[0]}; choose from {', '.join(_IXI_KINDS)}.")
    scans: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted((*_folder(root).glob("*"), *root.glob("*/*"))):
        match = _IXI.fullmatch(_stem(path))
        if match and match["kind"] in kinds:
            scans[match[0].rpartition("-")[0]].setdefault(match["kind"], path)
    if not scans:
        raise MedgenError(f"{root.name} holds no IXI*-{kinds[0]}.nii.gz or -{kinds[1]}.nii.gz; give the folder of IXI.")
    candidates = []
    for key, found in sorted(scans.items()):
        one, other = (found.get(kind) for kind in kinds)
        missing = kinds[0] if one is None else kinds[1] if other is None else ""
        refused = f"no {missing} of this scan" if missing else ""
        candidates.append(Candidate(key, key.partition("-")[0], "", one, other, refused))
    return candidates


def find_mask(folder: Path, key: str) -> Path:
    """The one NIfTI file of `folder` whose name begins with `key`, which no letter or digit may continue.

    Raises:
        MedgenError: there is none, or several.
    """
    named = re.compile(rf"{re.escape(key)}(?![A-Za-z0-9]).*")
    found = [path for path in sorted(_folder(folder).iterdir()) if _stem(path) and named.fullmatch(path.name)]
    if len(found) != 1:
        raise MedgenError(f"{len(found)} masks in {folder.name} begin with {key}; there must be one.")
    return found[0]


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise MedgenError(f"There is no folder {root}; check the path.")
    return root


def _stem(path: Path) -> str:
    """The name without .nii or .nii.gz; "" for other files."""
    return next((path.name.removesuffix(end) for end in _NIFTI if path.name.endswith(end)), "")


def _scan_stem(path: Path) -> str:
    """The name of a NIfTI file, a ZIP or a folder without its ending; "" for other files."""
    return path.name if path.is_dir() else _stem(path) or (path.stem if path.suffix == ".zip" else "")
