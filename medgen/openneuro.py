"""Heads of a data set of OpenNeuro.org: its T1w, T2w and FLAIR scans in BIDS folders, and nothing else of it.

    python -m medgen.data openneuro ds000001 --out DIR [--subjects N] [--snapshot TAG]

Files are listed through the GraphQL API, folder by folder, and come from the public bucket of the archive, each with
resume. The folder is named after the snapshot, so that two of them never mix.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from medgen.errors import MedgenError

API_URL = "https://openneuro.org/crn/graphql"
FILES_URL = "https://s3.amazonaws.com/openneuro.org"
DESCRIPTION = "dataset_description.json"
MAX_FILE_BYTES = 2 * 2**30
"""Of one scan: as much as `read_volume` takes."""
_MAX_DESCRIPTION_BYTES = 2**20
_MAX_REPLY_BYTES = 32 * 2**20
_MAX_ENTRIES = 20_000
_ATTEMPTS = 4
TIMEOUT_SECONDS = 60.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_SUBJECT = re.compile(r"sub-[A-Za-z0-9+]+")
_SESSION = re.compile(r"ses-[A-Za-z0-9+]+")
_SCAN = re.compile(r"sub-[A-Za-z0-9+_-]+_(T1w|T2w|FLAIR)\.nii\.gz")
_LATEST = "query ($id: ID!) { dataset(id: $id) { latestSnapshot { tag } } }"
# `id` of a folder is what `tree` takes to list it; without `tree` it is the top
_FILES = """query ($id: ID!, $tag: String!, $tree: String) {
  snapshot(datasetId: $id, tag: $tag) { files(tree: $tree) { id filename size directory urls } }
}"""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a snapshot.

    Args:
        path: below the data set, with slashes.
        size: bytes, as the archive lists it.
        url: where it is.
    """

    path: str
    size: int
    url: str


@dataclass(frozen=True)
class Archive:
    """Where OpenNeuro is; tests and mirrors have other addresses.

    Args:
        api_url: of the GraphQL API.
        files_url: of the bucket; below it are data set and path.
        wait_seconds: pause before a busy server is asked again; doubles each time.
    """

    api_url: str = API_URL
    files_url: str = FILES_URL
    wait_seconds: float = 1.0

    def __post_init__(self) -> None:
        for url in (self.api_url, self.files_url):
            if not re.match(r"https?://[^/\s]", url):
                raise MedgenError(f"{url!r} is no http or https address; leave it out for that of OpenNeuro.")

    def latest(self, dataset: str) -> str:
        """The tag of the newest snapshot.

        Raises:
            MedgenError: no such data set, it is not public, or the archive does not answer.
        """
        found = self._asked(_LATEST, {"id": _checked(dataset)}).get("dataset")
        tag = ((found or {}).get("latestSnapshot") or {}).get("tag")
        if not isinstance(tag, str) or not _is_tag(tag):
            raise MedgenError(f"OpenNeuro has no public snapshot of {dataset}; look for it on https://openneuro.org.")
        return tag

    def scans(self, dataset: str, tag: str, subjects: int | None = None) -> list[RemoteFile]:
        """The description of a snapshot, then its scans, sorted by subject.

        Args:
            dataset: accession number, such as "ds000001".
            tag: of the snapshot.
            subjects: only so many, the first that have a scan; None = all.

        Raises:
            MedgenError: nothing there, a listing that cannot be right, or the archive does not answer.
        """
        _checked(dataset)
        if not _is_tag(tag):
            raise MedgenError(f"{tag!r} is no snapshot; give one that its page on OpenNeuro lists, such as 1.0.0.")
        top = self._entries(dataset, tag, None, "")
        found = [self._file(dataset, one, "") for one in top if one["filename"] == DESCRIPTION]
        if not found or found[0].size > _MAX_DESCRIPTION_BYTES:
            raise MedgenError(f"{dataset} {tag} has no {DESCRIPTION} of its size; choose another snapshot.")
        n_subjects = 0
        for person in (one for one in top if _is_folder(one, _SUBJECT)):
            if subjects is not None and n_subjects == subjects:
                break
            scans = list(self._of_subject(dataset, tag, person))
            n_subjects += bool(scans)
            found += scans
        if not n_subjects:
            raise MedgenError(f"{dataset} {tag} has no T1w, T2w or FLAIR scan (*.nii.gz); choose another data set.")
        return found

    def _of_subject(self, dataset: str, tag: str, person: dict[str, Any]) -> Iterator[RemoteFile]:
        """The scans in `sub-*/anat` and `sub-*/ses-*/anat`."""
        folders = [(person, person["filename"])]
        inside = self._entries(dataset, tag, *folders[0])
        sessions = [one for one in inside if _is_folder(one, _SESSION)]
        places = [(inside, person["filename"])]
        for one in sessions:
            where = f"{person['filename']}/{one['filename']}"
            places.append((self._entries(dataset, tag, one, where), where))
        for entries, where in places:
            for anat in (one for one in entries if one["directory"] and one["filename"] == "anat"):
                below = f"{where}/anat"
                for scan in self._entries(dataset, tag, anat, below):
                    if not scan["directory"] and _SCAN.fullmatch(scan["filename"]):
                        yield self._file(dataset, scan, below)

    def _entries(self, dataset: str, tag: str, folder: dict[str, Any] | None, where: str) -> list[dict[str, Any]]:
        """What a folder of a snapshot holds, sorted by name; None = its top."""
        asked = {"id": dataset, "tag": tag, "tree": None if folder is None else folder["id"]}
        snapshot = self._asked(_FILES, asked).get("snapshot")
        if snapshot is None:
            raise MedgenError(f"OpenNeuro has no public snapshot {tag} of {dataset}; its page lists those there are.")
        entries = snapshot.get("files") if isinstance(snapshot, dict) else None
        if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
            raise MedgenError(f"OpenNeuro does not list the files of {dataset}/{where}; try again later.")
        for one in entries:
            if not isinstance(one, dict) or not isinstance(one.get("id"), str) or "directory" not in one:
                raise MedgenError(f"OpenNeuro lists the files of {dataset}/{where} in another way than it did.")
            name = one.get("filename")
            if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\:\x00-\x1f]", name):
                raise MedgenError(
                    f"OpenNeuro lists the unsafe name {name!r} in {dataset}/{where}; nothing was fetched."
                )
        return sorted(entries, key=lambda one: one["filename"])

    def _file(self, dataset: str, entry: dict[str, Any], where: str) -> RemoteFile:
        path = f"{where}/{entry['filename']}".lstrip("/")
        size = str(entry.get("size"))
        if not size.isdecimal() or not 0 < int(size) <= MAX_FILE_BYTES:
            raise MedgenError(
                f"OpenNeuro lists {dataset}/{path} with {size} bytes; at most {MAX_FILE_BYTES:,} are read."
            )
        plain = f"{self.files_url}/{quote(f'{dataset}/{path}')}"
        # of the addresses it knows, only that in the bucket: with the version that belongs to the snapshot
        known = (url for url in entry.get("urls") or () if isinstance(url, str) and url.partition("?")[0] == plain)
        return RemoteFile(path, int(size), next(known, plain))

    def _asked(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The `data` of an answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "medgen"}
        where = urlsplit(self.api_url).netloc
        for attempt in range(_ATTEMPTS):
            try:
                request = urllib.request.Request(self.api_url, data=body, headers=headers)
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                    return _data(response.read(_MAX_REPLY_BYTES + 1), where)
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"HTTP status {error.code}"
                if error.code not in _BUSY:
                    raise MedgenError(f"{where} refuses the question ({reason}); look at its status page.") from error
            except urllib.error.URLError as error:
                reason = str(error.reason)
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
            if attempt + 1 < _ATTEMPTS:
                time.sleep(self.wait_seconds * 2**attempt)
        raise MedgenError(f"{where} does not answer ({reason}); check the network, or try again later.")


def _data(content: bytes, where: str) -> dict[str, Any]:
    """Raises:
    MedgenError: an answer that is no JSON, too long, or tells of an error.
    """
    try:
        answer = json.loads(content) if len(content) <= _MAX_REPLY_BYTES else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise MedgenError(f"{where} answers with something else than JSON; check the address, or try again later.")
    if answer.get("errors"):
        said = " ".join(re.findall(r'"message": "(.*?)"', json.dumps(answer["errors"])))[:200]
        raise MedgenError(f"{where} answers: {said or 'an error'}; check the name of the data set and the snapshot.")
    data = answer.get("data")
    return data if isinstance(data, dict) else {}


def _checked(dataset: str) -> str:
    if not re.fullmatch(r"ds\d{6}", dataset):
        raise MedgenError(f"{dataset!r} is no data set of OpenNeuro; give its accession number, such as ds000001.")
    return dataset


def _is_tag(tag: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", tag) is not None


def _is_folder(entry: dict[str, Any], named: re.Pattern[str]) -> bool:
    return bool(entry["directory"]) and named.fullmatch(entry["filename"]) is not None
