"""Scans from OpenNeuro, served by a local copy of its API and of its bucket that breaks off, lies and falls silent."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from medgen.data import main as data_main
from medgen.errors import MedgenError
from medgen.openneuro import FILES_URL, Archive
from medgen.openneuro_command import main
from medgen.pair_layouts import find_bids

DESCRIBED = {"Name": "Balloons", "License": "CC0", "DatasetDOI": "10.18112/openneuro.ds000001.v1.0.0"}


def scan(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(300_000)


FILES = {
    "dataset_description.json": json.dumps(DESCRIBED).encode(),
    "README": b"hello",
    "participants.tsv": b"participant_id\n",
    "sub-01/anat/sub-01_T1w.nii.gz": scan(0),
    "sub-01/anat/sub-01_T1w.json": b"{}",
    "sub-01/anat/sub-01_inplaneT2.nii.gz": scan(1),
    "sub-01/func/sub-01_task-balloon_bold.nii.gz": scan(2),
    "sub-02/ses-a/anat/sub-02_ses-a_acq-tse_run-1_T2w.nii.gz": scan(3),
    "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz": scan(4),
    "sub-02/ses-b/func/sub-02_ses-b_bold.nii.gz": scan(5),
    "sub-03/func/sub-03_bold.nii.gz": scan(6),
    "sub-04/anat/sub-04_T1w.nii.gz": scan(7),
    "derivatives/sub-01/anat/sub-01_T1w.nii.gz": scan(8),
}
WANTED = [
    "dataset_description.json",
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_acq-tse_run-1_T2w.nii.gz",
    "sub-04/anat/sub-04_T1w.nii.gz",
]


class Server(ThreadingHTTPServer):
    """POST /crn/graphql lists `files` folder by folder; GET and HEAD below /openneuro.org/ds000001 give them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.listed = {}  # fields of the listing that are not what they should be, by path
        self.statuses = []  # answered instead of the listing, in turn
        self.replies = []  # the same, contents
        self.drops = 0  # so many downloads break off in the middle
        self.asked, self.got = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def folder(self, tree: str | None) -> list[dict]:
        """The entries of a folder, which goes by the hash of its path; `key` has gone from the real API."""
        paths = {"": "", **{p: p for f in self.files for p in parents(f)}}
        (below,) = [path for path in paths if tree == (identity(path) if path else None)]
        start = f"{below}/" if below else ""
        entries = {}
        for path, content in self.files.items():
            if path.startswith(start):
                name, _, rest = path.removeprefix(start).partition("/")
                entry = {"id": identity(start + name), "filename": name, "directory": bool(rest), "urls": []}
                entry["size"] = 0 if rest else len(content)
                if not rest:
                    version = f"{FILES_URL_PATH}/{path}?versionId=v.{identity(path)[:4]}"
                    entry["urls"] = ["https://elsewhere.org/x", f"{self.url}{version}"]
                entries[name] = {**entry, **self.listed.get(start + name, {})}
        return list(entries.values())[::-1]


FILES_URL_PATH = "/openneuro.org/ds000001"


def identity(path: str) -> str:
    return hashlib.sha1(path.encode()).hexdigest()


def parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append(asked["variables"])
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        content = server.replies.pop(0) if server.replies else json.dumps(self.answer(asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self, asked) -> dict:
        said = asked["variables"]
        assert self.path == "/crn/graphql" and self.headers["Content-Type"] == "application/json"
        if said["id"] == "ds000009":
            return {"errors": [{"message": "You do not have access to read this dataset."}], "data": {"dataset": None}}
        if "latestSnapshot" in asked["query"]:
            here = {"latestSnapshot": {"tag": "1.0.0"}} if said["id"] == "ds000001" else None
            return {"data": {"dataset": here}}
        assert "files(tree: $tree) { id filename size directory urls }" in asked["query"]
        return {"data": {"snapshot": {"files": self.server.folder(said["tree"])} if said["tag"] == "1.0.0" else None}}

    def do_HEAD(self):
        self.give(head=True)

    def do_GET(self):
        self.give(head=False)

    def give(self, head: bool):
        server = self.server
        where = urlsplit(self.path)
        content = server.files.get(unquote(where.path).removeprefix(f"{FILES_URL_PATH}/"))
        if content is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if head:
            return
        server.got.append((self.path, wanted))
        body = content[start:]
        if server.drops and len(content) > 10_000:
            server.drops -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run(server, out, *more, dataset="ds000001", wait_seconds=0.0) -> int:
    addresses = ["--api-url", f"{server.url}/crn/graphql", "--files-url", f"{server.url}/openneuro.org"]
    return main([dataset, "--out", str(out), *addresses, *more], wait_seconds)


def tree(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_only_the_heads_and_the_description_are_fetched(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    folder = tmp_path / "ds000001-1.0.0"
    assert tree(folder) == sorted(WANTED)
    for path in WANTED:
        assert (folder / path).read_bytes() == FILES[path]
    told = capsys.readouterr().out
    assert "Licence: CC0" in told and "Cite: 10.18112" in told and "4 scans of 3 subjects, 1.2 MB" in told
    assert f"pairs --bids {folder}" in told
    # the version that belongs to the snapshot, never an address elsewhere
    assert all("?versionId=v." in path for path, _ in server.got) and len(server.got) == 5
    # derivatives and functional scans are not even listed
    assert identity("derivatives") not in {said.get("tree") for said in server.asked} and len(server.asked) == 11
    found = {one.key: one for one in find_bids(folder, "T2w", "FLAIR")}
    assert list(found) == ["sub-02_ses-a"] and found["sub-02_ses-a"].session == "ses-a"


def test_a_second_run_fetches_nothing_and_replaces_nothing(server, tmp_path):
    assert run(server, tmp_path, "--subjects", "1") == 0
    folder = tmp_path / "ds000001-1.0.0"
    assert tree(folder) == WANTED[:2]
    before = {path: (folder / path).stat().st_mtime_ns for path in WANTED[:2]}
    server.got.clear()
    assert run(server, tmp_path, "--subjects", "2", "--snapshot", "1.0.0") == 0
    assert [urlsplit(path).path.removeprefix(f"{FILES_URL_PATH}/") for path, _ in server.got] == WANTED[2:4]
    assert {path: (folder / path).stat().st_mtime_ns for path in WANTED[:2]} == before


def test_a_file_of_another_size_is_left_as_it_is(server, tmp_path, capsys):
    mine = tmp_path / "ds000001-1.0.0" / WANTED[1]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"defaced")
    assert run(server, tmp_path) == 2
    assert "already there with 7 bytes" in capsys.readouterr().err
    assert mine.read_bytes() == b"defaced" and len(server.got) == 1  # the description alone


def test_a_broken_transfer_goes_on_at_once_and_in_the_next_run(server, tmp_path, capsys):
    server.drops = 1
    assert run(server, tmp_path, "--subjects", "1") == 0
    assert [wanted for _, wanted in server.got] == [None, None, "bytes=150000-"]
    assert (tmp_path / "ds000001-1.0.0" / WANTED[1]).read_bytes() == FILES[WANTED[1]]
    server.got.clear()
    server.drops = 99  # each try brings half of the rest, until nothing comes any more
    assert run(server, tmp_path) == 2
    assert "run the same command again" in capsys.readouterr().err
    folder = tmp_path / "ds000001-1.0.0"
    broken = folder / WANTED[2]
    assert not broken.exists() and broken.with_name(f"{broken.name}.part").exists()
    server.drops = 0
    server.got.clear()
    assert run(server, tmp_path) == 0
    assert server.got[0][1] is not None and tree(folder) == sorted(WANTED)
    assert all((folder / path).read_bytes() == FILES[path] for path in WANTED)


BAD_NAMES = ["../../evil_T1w.nii.gz", "..", "a/b", "a\\b", "C:x", "", "new\nline", None, 7]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("where", ["sub-04", "sub-04/anat/sub-04_T1w.nii.gz"])
def test_a_listing_with_a_bad_name_fetches_nothing(server, tmp_path, capsys, name, where):
    server.listed[where] = {"filename": name}
    assert run(server, tmp_path) == 2
    told = capsys.readouterr().err
    assert "unsafe name" in told and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [] and server.got == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 3 * 2**30}, "at most"),
        ({"size": "9" * 40}, "at most"),
        ({"size": -1}, "-1 bytes"),
        ({"size": None}, "None bytes"),
        ({"size": 299_999}, "300,000 bytes in the archive, 299,999 in this"),
        ({"id": None}, "in another way"),
    ],
)
def test_a_listing_that_cannot_be_right_is_refused(server, tmp_path, capsys, fields, words):
    server.listed[WANTED[1]] = fields
    assert run(server, tmp_path) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not list(tmp_path.rglob("*T1w.nii.gz"))


def test_an_address_elsewhere_is_not_followed(server):
    server.listed[WANTED[1]] = {"urls": [f"{FILES_URL}/ds000001/other_T1w.nii.gz", "file:///etc/passwd", None]}
    archive = Archive(f"{server.url}/crn/graphql", FILES_URL)
    assert archive.scans("ds000001", "1.0.0", 1)[1].url == f"{FILES_URL}/ds000001/{WANTED[1]}"


def test_a_file_that_came_with_another_size_is_not_kept(server, tmp_path, capsys, monkeypatch):
    """A server that does not answer HEAD, and whose file is not what the listing says."""
    server.listed[WANTED[1]] = {"size": 5}
    monkeypatch.setattr(Handler, "do_HEAD", lambda self: self.send_error(405))
    assert run(server, tmp_path) == 2
    assert "another size than listed" in capsys.readouterr().err
    assert tree(tmp_path) == ["ds000001-1.0.0/dataset_description.json"]


def test_a_busy_api_is_asked_again_and_a_broken_one_is_named(server, tmp_path, capsys):
    server.statuses = [500, 503, 429]
    assert run(server, tmp_path, "--subjects", "1") == 0
    server.statuses = [500] * 9
    assert run(server, tmp_path) == 2
    told = capsys.readouterr().err
    assert "HTTP status 500" in told and "try again later" in told and told.count("\n") == 1
    server.statuses = [400]
    assert run(server, tmp_path) == 2
    assert "HTTP status 400" in capsys.readouterr().err


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b"\xff\xfe", b"null", b'"x"'])
def test_an_answer_that_is_none_is_one_sentence(server, tmp_path, capsys, reply):
    server.replies = [reply] * 9
    assert run(server, tmp_path) == 2
    assert "something else than JSON" in capsys.readouterr().err


NOTHING = [{"data": None}, {}, {"data": {"snapshot": []}}]
NO_FILES = [{"data": {"snapshot": {"files": files}}} for files in (None, {}, [1], [{"id": "a"}])]


@pytest.mark.parametrize("reply", NOTHING + NO_FILES)
def test_a_listing_of_another_form_is_one_sentence(server, tmp_path, capsys, reply):
    server.replies = [json.dumps(reply).encode()] * 9
    assert run(server, tmp_path, "--snapshot", "1.0.0") == 2
    told = capsys.readouterr().err
    assert "OpenNeuro" in told and told.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_without_a_network_the_message_says_so(tmp_path, capsys):
    asked = ["ds000001", "--out", str(tmp_path), "--api-url", "http://127.0.0.1:1/crn/graphql"]
    assert main(asked, wait_seconds=0.0) == 2
    told = capsys.readouterr().err
    assert "127.0.0.1:1 does not answer" in told and "check the network" in told
    assert main([*asked[:3], "--api-url", "http://no-such-host.invalid/graphql"], wait_seconds=0.0) == 2
    assert "no-such-host.invalid does not answer" in capsys.readouterr().err


def test_what_is_not_there_is_said_in_one_sentence(server, tmp_path, capsys):
    for dataset, more, words in (
        ("ds000002", [], "no public snapshot of ds000002"),
        ("ds000009", [], "do not have access"),
        ("ds000001", ["--snapshot", "9.9.9"], "no public snapshot 9.9.9"),
        ("ds000001", ["--snapshot", "../1"], "is no snapshot"),
        ("../ds000001", [], "no data set of OpenNeuro"),
        ("ds000001", ["--subjects", "0"], "at least one"),
        ("ds000001", ["--files-url", "file:///etc"], "no http or https address"),
    ):
        assert run(server, tmp_path, *more, dataset=dataset) == 2
        assert words in capsys.readouterr().err
    server.files = {"dataset_description.json": b"{}", "sub-01/func/sub-01_bold.nii.gz": b"x"}
    assert run(server, tmp_path) == 2
    assert "no T1w, T2w or FLAIR" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_without_a_licence_says_so(server, tmp_path, capsys):
    for description in (b"not json", b"[]", b'{"Name": "A"}'):
        server.files["dataset_description.json"] = description
        shutil.rmtree(tmp_path / "ds000001-1.0.0", ignore_errors=True)
        assert run(server, tmp_path, "--subjects", "1") == 0
        assert "Licence: not stated" in capsys.readouterr().out


def test_a_disk_too_small_is_noticed_before_the_first_scan(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=66 * 2**20))
    assert run(server, tmp_path) == 0
    server.listed[WANTED[1]] = {"size": 2**30}
    assert run(server, tmp_path / "new") == 2
    assert "free some space" in capsys.readouterr().err and not list((tmp_path / "new").rglob("*.gz"))


def test_the_command_is_one_of_the_data_commands(capsys):
    with pytest.raises(SystemExit):
        data_main(["openneuro", "-h"])
    assert "ds000001" in capsys.readouterr().out
    assert data_main(["openneuro", "balloons", "--out", "x"]) == 2


def test_only_web_addresses_are_asked():
    for bad in ("ftp://openneuro.org/crn/graphql", "file:///etc/passwd", "openneuro.org"):
        with pytest.raises(MedgenError, match="no http"):
            Archive(bad)
        with pytest.raises(MedgenError, match="no http"):
            Archive(files_url=bad)
