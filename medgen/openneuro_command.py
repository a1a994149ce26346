"""The command line `python -m medgen.data openneuro`, and the downloads it makes."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from medgen.errors import MedgenError, exit_code
from medgen.fetch import download
from medgen.openneuro import API_URL, DESCRIPTION, FILES_URL, TIMEOUT_SECONDS, Archive, RemoteFile
from medgen.unpack import require_space


def main(argv: list[str] | None = None, wait_seconds: float = 1.0) -> int:
    """Fetches the scans of a data set; 0 = all are here, 2 = the user has to do something first."""
    parser = argparse.ArgumentParser(
        prog="python -m medgen.data openneuro",
        description="The T1w, T2w and FLAIR scans of a data set of OpenNeuro. A stopped download goes on; what is here "
        "is never replaced.",
    )
    parser.add_argument("dataset", help="accession number, such as ds000001")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder DATASET-SNAPSHOT")
    parser.add_argument("--subjects", type=int, metavar="N", help="only the first N with a scan (default: all)")
    parser.add_argument("--snapshot", metavar="TAG", help="such as 1.0.0 (default: the newest)")
    parser.add_argument("--api-url", default=API_URL, metavar="URL", help="of the GraphQL API (default: %(default)s)")
    parser.add_argument("--files-url", default=FILES_URL, metavar="URL", help="of the bucket (default: %(default)s)")
    asked = parser.parse_args(argv)

    def work() -> int:
        if asked.subjects is not None and asked.subjects < 1:
            raise MedgenError(f"Ask for at least one subject, not {asked.subjects}.")
        archive = Archive(asked.api_url, asked.files_url.rstrip("/"), wait_seconds)
        tag = asked.snapshot or archive.latest(asked.dataset)
        files = archive.scans(asked.dataset, tag, asked.subjects)
        folder = asked.out / f"{asked.dataset}-{tag}"
        fetch_scans(files[:1], folder, wait_seconds=wait_seconds)
        print(about(folder / DESCRIPTION, asked.dataset))
        n_subjects = len({file.path.partition("/")[0] for file in files[1:]})
        megabytes = sum(file.size for file in files) / 1e6
        print(f"{asked.dataset} {tag}: {len(files) - 1} scans of {n_subjects} subjects, {megabytes:,.1f} MB.")
        _fetch(files[1:], folder, wait_seconds)
        print(f"{folder} is complete. Pairs of it: python -m medgen.data pairs --bids {folder} --out DIR")
        return 0

    return exit_code(work, "Interrupted; the same command again goes on.")


def _fetch(files: list[RemoteFile], folder: Path, wait_seconds: float) -> None:
    with tqdm(total=len(files), unit="scan", disable=not sys.stderr.isatty()) as bar:
        fetch_scans(files, folder, lambda file: bar.update(), wait_seconds)


def about(path: Path, dataset: str) -> str:
    """Name, licence and DOI of a data set, one a line, from its dataset_description.json."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = {}
    known = said if isinstance(said, dict) else {}
    name, licence, doi = (
        " ".join(str(known.get(key) or "").split())[:200] for key in ("Name", "License", "DatasetDOI")
    )
    lines = [
        f"{dataset}: {name or 'without a name'}",
        f"Licence: {licence or f'not stated; ask its authors, see https://openneuro.org/datasets/{dataset}'}",
    ]
    return "\n".join(lines + ([f"Cite: {doi}"] if doi else []))


def fetch_scans(
    files: list[RemoteFile],
    folder: Path,
    on_file: Callable[[RemoteFile], object] = lambda file: None,
    wait_seconds: float = 1.0,
) -> None:
    """Downloads into `folder` what is not there yet.

    Args:
        files: of `Archive.scans`.
        folder: of the snapshot; made if it is not there.
        on_file: called with each file that is complete.
        wait_seconds: pause before a broken download is taken up again; doubles each time.

    Raises:
        MedgenError: a file is there with another size (it is left as it is, nothing is fetched), the disk is too small,
            or a download failed (what came is kept, the next run goes on).
    """
    missing = set()
    for file in files:
        target = folder / file.path
        if not target.exists():
            missing.add(file)
        elif target.stat().st_size != file.size:
            raise MedgenError(
                f"{target} is already there with {target.stat().st_size:,} bytes, the archive has {file.size:,}; move "
                "it away to fetch it again."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedgenError(f"Could not make {folder}: {error.strerror}; choose another folder.") from error
    require_space(folder, sum(file.size for file in missing))
    for file in files:
        target = folder / file.path
        if file in missing:
            _refuse_other_size(file)
            download(file.url, target, wait_seconds=wait_seconds)
            if target.stat().st_size != file.size:
                target.unlink()  # it came this moment
                raise MedgenError(f"{file.path} came with another size than listed; it was deleted: try again later.")
        on_file(file)


def _refuse_other_size(file: RemoteFile) -> None:
    """Asks for the size before the first byte; a server that does not say is judged by what comes.

    Raises:
        MedgenError: what is there now is not what the snapshot lists.
    """
    request = urllib.request.Request(file.url, method="HEAD", headers={"User-Agent": "medgen"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            length = response.headers.get("Content-Length", "")
    except (OSError, http.client.HTTPException, ValueError):
        return  # `download` tries more than once, and says what is wrong
    if length.isdecimal() and int(length) != file.size:
        raise MedgenError(
            f"{file.path} has {int(length):,} bytes in the archive, {file.size:,} in this snapshot; try another."
        )
