"""Downloads from a local server that breaks off, changes its file, or knows no Range."""

import hashlib
import io
import json
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medgen.catalogue import DATASETS
from medgen.data import main
from medgen.errors import MedgenError
from medgen.fetch import download, fetch
from medgen.unpack import unpack

CONTENT = np.random.default_rng(0).bytes(1_200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves `content` under every path; `drops` answers first break off after half of what they owe."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.honours_if_range = True
        self.drops = 0
        self.statuses = []  # answered instead of the file, in turn
        self.asked = []  # the Range header of each request

    def url(self, name="file.zip"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if_range = self.headers.get("If-Range")
        if wanted and server.ranges and (if_range in (None, server.etag) or not server.honours_if_range):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.drops:
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


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_download_arrives_and_leaves_nothing_else(server, tmp_path):
    target = download(server.url(), tmp_path / "new" / "file.zip", sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert left_in(tmp_path / "new") == ["file.zip"]


def test_a_dropped_connection_is_resumed_where_it_broke(server, tmp_path):
    server.drops = 2
    target = download(server.url(), tmp_path / "file.zip", sha256=SHA256, wait_seconds=0.0)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-", f"bytes={HALF + HALF // 2}-"]
    assert left_in(tmp_path) == ["file.zip"]


def test_without_range_support_the_download_starts_over_and_is_still_right(server, tmp_path):
    server.ranges, server.drops = False, 1
    target = download(server.url(), tmp_path / "file.zip", wait_seconds=0.0)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_server_that_always_breaks_off_ends_in_one_sentence_and_the_part_is_kept(server, tmp_path):
    server.ranges, server.drops = False, 99
    with pytest.raises(MedgenError, match="run the same command again") as caught:
        download(server.url(), tmp_path / "file.zip", attempts=3, wait_seconds=0.0)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file.zip.part").stat().st_size == HALF
    assert not (tmp_path / "file.zip").exists()
    assert len(server.asked) == 3


def test_the_next_run_goes_on_from_the_part_of_the_last(server, tmp_path):
    server.drops = 1
    with pytest.raises(MedgenError):
        download(server.url(), tmp_path / "file.zip", attempts=1)
    target = download(server.url(), tmp_path / "file.zip")
    assert server.asked[-1] == f"bytes={HALF}-"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_between_two_runs_is_never_a_mix_of_both(server, tmp_path, honours_if_range):
    server.drops = 1
    with pytest.raises(MedgenError):
        download(server.url(), tmp_path / "file.zip", attempts=1)
    server.content, server.etag, server.honours_if_range = CONTENT[::-1], '"two"', honours_if_range
    target = download(server.url(), tmp_path / "file.zip", wait_seconds=0.0)
    assert target.read_bytes() == CONTENT[::-1]


def test_without_validator_and_checksum_nothing_is_resumed(server, tmp_path):
    server.etag, server.drops = None, 1
    with pytest.raises(MedgenError):
        download(server.url(), tmp_path / "file.zip", attempts=1)
    server.content = CONTENT[::-1]
    assert download(server.url(), tmp_path / "file.zip").read_bytes() == CONTENT[::-1]
    assert server.asked == [None, None]


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    server.drops = 1
    with pytest.raises(MedgenError):
        download(server.url("a.zip"), tmp_path / "file.zip", attempts=1)
    download(server.url("b.zip"), tmp_path / "file.zip")
    assert server.asked == [None, None]


def test_a_part_longer_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(CONTENT + b"more")
    state = {"url": server.url(), "validator": '"one"', "total": len(CONTENT) + 9}
    (tmp_path / "file.zip.part.json").write_text(json.dumps(state))
    assert download(server.url(), tmp_path / "file.zip", wait_seconds=0.0).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_run_killed_before_the_last_rename_needs_no_network(tmp_path):
    url = "http://127.0.0.1:1/file.zip"
    (tmp_path / "file.zip.part").write_bytes(CONTENT)
    (tmp_path / "file.zip.part.json").write_text(json.dumps({"url": url, "validator": '"a"', "total": len(CONTENT)}))
    assert download(url, tmp_path / "file.zip", sha256=SHA256).read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_the_part_and_says_so(server, tmp_path):
    with pytest.raises(MedgenError, match=r"sha256 .* it was deleted"):
        download(server.url(), tmp_path / "file.zip", sha256="0" * 64)
    assert left_in(tmp_path) == []


def test_an_existing_file_is_kept_whatever_it_is(server, tmp_path):
    mine = tmp_path / "file.zip"
    mine.write_bytes(b"mine")
    with pytest.raises(MedgenError, match="move it away"):
        download(server.url(), mine, sha256=SHA256)
    assert mine.read_bytes() == b"mine"
    assert download(server.url(), mine) == mine
    assert server.asked == []


def test_a_busy_server_is_asked_again_and_a_missing_page_is_not(server, tmp_path):
    server.statuses = [503, 429]
    assert download(server.url(), tmp_path / "a.zip", wait_seconds=0.0).read_bytes() == CONTENT
    server.statuses = [404, 404]
    with pytest.raises(MedgenError, match="404"):
        download(server.url(), tmp_path / "b.zip", wait_seconds=0.0)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://127.0.0.1/x",
        "http://",
        "nonsense",
        "http://[::1/x",
        "http://a:b/x",
        "http://127.0.0.1:1/\u00fc",
    ],
)
def test_only_web_addresses_are_opened(url, tmp_path):
    with pytest.raises(MedgenError, match="address"):
        download(url, tmp_path / "file.zip")
    with pytest.raises(MedgenError, match="address"):
        fetch(DATASETS["kermany_cxr_128"], tmp_path, url)


def test_a_folder_that_cannot_be_made_is_one_sentence(server, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(MedgenError, match="choose another folder"):
        download(server.url(), tmp_path / "file" / "below" / "file.zip")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_disk_too_small_is_noticed_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(MedgenError, match="free some space"):
        download(server.url(), tmp_path / "file.zip")
    assert left_in(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_that_fills_up_midway_ends_in_one_sentence(server, tmp_path):
    (tmp_path / "file.zip.part").symlink_to("/dev/full")
    with pytest.raises(MedgenError, match=r"No space left on device.*free some space"):
        download(server.url(), tmp_path / "file.zip")
    assert not (tmp_path / "file.zip").exists()


def zip_of(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_fetch_unpacks_the_upstream_file_and_nothing_beside_it(server, tmp_path):
    members = {"chest_xray/train/NORMAL/IM-0115-0001.jpeg": b"x", "__MACOSX/chest_xray/._a": b"y"}
    server.content = zip_of(members)
    entry = DATASETS["kermany_cxr_128"]
    folder = fetch(entry, tmp_path, server.url(entry.download_name))
    assert (folder / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == b"x"
    assert left_in(tmp_path) == ["ChestXRay2017.zip", "chest_xray"]
    with pytest.raises(MedgenError, match="already there"):
        fetch(entry, tmp_path, server.url(entry.download_name))


def test_fetch_of_a_compact_archive_insists_on_the_catalogued_checksum(server, tmp_path, capsys):
    assert main(["fetch", "nih_cxr_128", "--out", str(tmp_path), "--url", server.url("nih_cxr_128.zip")]) == 2
    assert "sha256" in capsys.readouterr().err
    assert left_in(tmp_path) == []


def test_fetch_tells_how_to_get_what_has_no_direct_address(tmp_path, capsys):
    assert main(["fetch", "nih_cxr_128", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert DATASETS["nih_cxr_128"].url in told and "images_001" in told and "--url" in told
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["../evil", "chest_xray/../../evil", "/etc/evil", "..\\evil", "C:/evil"])
def test_a_zip_that_reaches_out_of_its_folder_is_refused(name, tmp_path):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "bad.zip"
    archive.write_bytes(zip_of({"chest_xray/a": b"a", name: b"evil"}))
    with pytest.raises(MedgenError, match="unsafe"):
        unpack(archive, tmp_path / "in", "chest_xray")
    assert left_in(tmp_path) == ["bad.zip", "in"] and left_in(tmp_path / "in") == []


def test_a_zip_with_a_symbolic_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("chest_xray/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(MedgenError, match="unsafe"):
        unpack(tmp_path / "bad.zip", tmp_path, "chest_xray")


@pytest.mark.parametrize("damage", ["cut", "flipped", "name", "no folder"])
def test_a_damaged_upstream_file_leaves_nothing_half_unpacked(damage, tmp_path):
    content = zip_of({"chest_xray/a": b"a" * 999, "chest_xray/b": b"b" * 999})
    content = {
        "cut": content[:1500],
        "flipped": content.replace(b"bbbb", b"bbbc", 1),
        "name": zip_of({"chest_xray/\u00fc": b"a"}).replace("\u00fc".encode(), b"\xff\xff"),
        "no folder": zip_of({"other/a": b"a"}),
    }[damage]
    archive = tmp_path / "chest.zip"
    archive.write_bytes(content)
    with pytest.raises(MedgenError):
        unpack(archive, tmp_path, "chest_xray")
    assert left_in(tmp_path) == ["chest.zip"]
    assert archive.read_bytes() == content
