"""Against a server on this machine, with and without ranges, that can be told to break off."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datasets.cohort import CohortError
from datasets.raw import fetch as module
from datasets.raw.fetch import CREDENTIALED, OPEN, fetch_release, list_commands

FILES = {"hosp/patients.csv.gz": b"patients" * 5000, "hosp/a b.csv.gz": b"blank", "README.txt": b"read me"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if server.busy:
            server.busy -= 1
            return self.send_error(503)
        name = self.path.removeprefix("/release/1.0/").replace("%20", " ")
        content = server.files.get(name)
        if content is None:
            return self.send_error(404)
        start = 0
        if server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content)
        if server.cuts.get(name):
            stop = min(start + server.cuts[name].pop(0), stop)
            self.close_connection = True
        self.wfile.write(content[start:stop])
        return None

    def log_message(self, *_):
        pass


def listing(files):
    return "".join(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in files.items()).encode()


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files = {**FILES, "SHA256SUMS.txt": listing(FILES)}
    server.asked, server.cuts, server.ranges, server.busy = [], {}, True, 0
    server.address = f"http://127.0.0.1:{server.server_address[1]}/release/1.0"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def get(server, folder, **options):
    return fetch_release("mimic-iv-demo", folder, address=server.address, **{"wait": 0.0, "timeout": 5.0, **options})


def ranges(server, name):
    return [asked for path, asked in server.asked if path.endswith(name)]


def test_every_listed_file_is_fetched_under_its_name(server, tmp_path):
    said = []
    rows = get(server, tmp_path / "demo", progress=said.append)
    assert rows == [{"file": name, "status": "fetched"} for name in FILES]
    assert {
        p.relative_to(tmp_path / "demo").as_posix(): p.read_bytes()
        for p in (tmp_path / "demo").rglob("*")
        if p.is_file()
    } == server.files
    assert said == [f"{i} of 3: {name}" for i, name in enumerate(FILES, 1)]


def test_what_is_there_and_right_is_left_alone(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "README.txt").write_bytes(b"changed")
    server.asked.clear()
    rows = get(server, tmp_path)
    assert [row["status"] for row in rows] == ["there", "there", "fetched"]
    assert [path.rsplit("/", 1)[-1] for path, _ in server.asked] == ["SHA256SUMS.txt", "README.txt"]
    assert (tmp_path / "README.txt").read_bytes() == b"read me"


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.cuts["hosp/patients.csv.gz"] = [1000, 2500]
    get(server, tmp_path)
    assert ranges(server, "patients.csv.gz") == [None, "bytes=1000-", "bytes=3500-"]
    assert (tmp_path / "hosp/patients.csv.gz").read_bytes() == FILES["hosp/patients.csv.gz"]


def test_a_run_that_gave_up_is_taken_up_by_the_next(server, tmp_path):
    server.cuts["hosp/patients.csv.gz"] = [1000, 500]
    with pytest.raises(
        CohortError, match=r"patients.csv.gz cannot be fetched \(.*\); run it again to go on after 1,500 bytes"
    ) as error:
        get(server, tmp_path, tries=2)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "hosp/patients.csv.gz").exists()
    get(server, tmp_path)
    assert ranges(server, "patients.csv.gz")[-1] == "bytes=1500-"
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_without_ranges_is_asked_from_the_start(server, tmp_path):
    server.ranges = False
    server.cuts["hosp/patients.csv.gz"] = [1000]
    get(server, tmp_path)
    assert (tmp_path / "hosp/patients.csv.gz").read_bytes() == FILES["hosp/patients.csv.gz"]


@pytest.mark.parametrize("left", [b"patients" * 5000, b"x" * 40_000, b"patients" * 6000, b"another file"])
def test_a_part_of_anything_comes_out_right(server, tmp_path, left):
    (tmp_path / "hosp").mkdir()
    (tmp_path / "hosp/patients.csv.gz.part").write_bytes(left)
    get(server, tmp_path)
    assert (tmp_path / "hosp/patients.csv.gz").read_bytes() == FILES["hosp/patients.csv.gz"]


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.busy = 2
    assert len(get(server, tmp_path)) == 3


def test_a_file_that_is_not_the_listed_one_is_never_given_its_name(server, tmp_path):
    server.files["README.txt"] = b"something else"
    with pytest.raises(CohortError, match=r"README.txt: what came is not the file on SHA256SUMS.txt") as error:
        get(server, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "README.txt").exists()
    assert not (tmp_path / "README.txt.part").exists()


def test_a_file_that_was_there_survives_a_failed_fetch(server, tmp_path):
    (tmp_path / "README.txt").write_bytes(b"mine")
    server.files["README.txt"] = b"something else"
    with pytest.raises(CohortError):
        get(server, tmp_path)
    assert (tmp_path / "README.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside", "hosp/../../outside", "C:\\outside"])
def test_a_list_that_leads_out_of_the_folder_is_refused(server, tmp_path, name):
    server.files["SHA256SUMS.txt"] = listing({"README.txt": b"read me", name: b"x"})
    with pytest.raises(CohortError, match="which is no name of a file in the release"):
        get(server, tmp_path / "demo")
    assert [path for path, _ in server.asked] == ["/release/1.0/SHA256SUMS.txt"]


def test_a_missing_file_is_named_with_its_address(server, tmp_path):
    del server.files["README.txt"]
    with pytest.raises(CohortError, match=r"http://.*README.txt cannot be fetched \(HTTP 404"):
        get(server, tmp_path)


def test_no_server_is_one_line(server, tmp_path):
    address = server.address
    server.shutdown()
    server.server_close()
    with pytest.raises(CohortError, match=r"SHA256SUMS.txt cannot be fetched \(Connection refused\)") as error:
        fetch_release("mimic-iv-demo", tmp_path, address=address, tries=1)
    assert "\n" not in str(error.value)


def test_only_web_addresses_are_fetched(tmp_path):
    with pytest.raises(CohortError, match="is no web address"):
        fetch_release("mimic-iv-demo", tmp_path, address="file:///etc")


def test_a_folder_that_cannot_be_written_is_one_line(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CohortError, match="cannot be written") as error:
        get(server, tmp_path / "taken")
    assert "\n" not in str(error.value)


def test_what_is_not_needed_is_not_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setitem(OPEN, "mimic-iv-demo", module.OpenRelease(server.address, skip=("hosp/",)))
    rows = fetch_release("mimic-iv-demo", tmp_path)
    assert [row["file"] for row in rows] == ["README.txt"]


def test_the_open_releases_are_those_of_the_data_folders():
    assert {name: release.address for name, release in OPEN.items()} == {
        "mimic-iv-demo": "https://physionet.org/files/mimic-iv-demo/2.2/",
        "eicu-demo": "https://physionet.org/files/eicu-crd-demo/2.0.1/",
    }


@pytest.mark.parametrize("name", CREDENTIALED)
def test_credentialed_data_are_fetched_by_oneself(name, tmp_path, monkeypatch):
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *_, **__: pytest.fail("nothing may be fetched"))
    lines = list_commands(name, tmp_path / "my data" / name)
    assert len(lines) == len(CREDENTIALED[name])
    for line in lines:
        assert line.startswith("wget ")
        assert "--ask-password" in line
        assert "--password" not in line.replace("--ask-password", "")
        assert "https://physionet.org/files/" in line
        assert f"-P '{tmp_path}/my data/{name}" in line


def test_the_command_fetches_an_open_release_and_prints_commands_for_others(server, tmp_path, monkeypatch, capsys):
    from benchmark.cli import main

    monkeypatch.setitem(OPEN, "mimic-iv-demo", module.OpenRelease(server.address))
    monkeypatch.setenv("CRL_MMNAR_DATA", str(tmp_path))
    assert main(["data", "fetch", "mimic-iv-demo"]) == 0
    assert (tmp_path / "mimic-iv-demo" / "README.txt").read_bytes() == b"read me"
    capsys.readouterr()
    assert main(["data", "fetch", "mimic-iv", f"root={tmp_path / 'mine'}"]) == 0
    assert capsys.readouterr().out.splitlines() == list_commands("mimic-iv", tmp_path / "mine")
    assert main(["data", "fetch", "embedded-mimic"]) == 2
    monkeypatch.delenv("CRL_MMNAR_DATA")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "fetch", "mimic-iv-demo"]) == 0
    assert (tmp_path / "data" / "mimic-iv-demo" / "README.txt").read_bytes() == b"read me"
