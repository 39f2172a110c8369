"""Fetch an open release from PhysioNet, file by file, checked against its own list; or say how to fetch a credentialed one.

A file that is there and matches is not fetched again. One that was cut off goes on where it stopped (its first part lies
next to it as ``NAME.part``), and takes its name only once its checksum is right. Credentials are neither asked for, read nor
stored: for credentialed data the commands to run oneself are given, and their program asks.
"""

from __future__ import annotations

import http.client
import os
import shlex
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets.cohort import CohortError
from datasets.raw.checksums import LIST, compute_digest, read_checksums

FILES = "https://physionet.org/files"
THERE, FETCHED = "there", "fetched"
BLOCK = 1 << 18
SAY_EVERY = 10.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class OpenRelease:
    """The address of an open release, and the beginnings of file names that are not needed."""

    address: str
    skip: tuple[str, ...] = ()


OPEN = {
    "mimic-iv-demo": OpenRelease(f"{FILES}/mimic-iv-demo/2.2/"),
    "eicu-demo": OpenRelease(f"{FILES}/eicu-crd-demo/2.0.1/", skip=("sqlite/",)),
}
CREDENTIALED = {
    "mimic-iv": (
        ("mimiciv/3.1/", "", "tables, root="),
        ("mimic-iv-note/2.2/", "note", "notes, note_root="),
        ("image-embeddings-mimic-cxr/1.0/", "cxr", "X-ray embeddings, cxr_root="),
        ("mimic-cxr-jpg/2.1.0/mimic-cxr-2.0.0-metadata.csv.gz", "cxr", "dates and views of the X-rays, into cxr_root"),
    ),
    "eicu": (("eicu-crd/2.0/", "", "tables, root="),),
}
"""By dataset: path on PhysioNet, folder next to the tables' (its name with this ending), what it is."""


def list_commands(name: str, folder: Path) -> list[str]:
    """List the commands that fetch a credentialed dataset into ``folder`` and the folders next to it, to be run by oneself.

    wget asks for the password. Access has to have been granted at PhysioNet, one dataset at a time.
    """
    lines = []
    for path, ending, what in CREDENTIALED[name]:
        target = shlex.quote(str(folder if not ending else folder.with_name(f"{folder.name}-{ending}")))
        how = "-r -N -c -np -nH --cut-dirs=3" if path.endswith("/") else "-N -c"
        lines.append(f"wget {how} --user YOUR_PHYSIONET_NAME --ask-password -P {target} {FILES}/{path}  # {what}")
    return lines


def fetch_release(
    name: str,
    folder: Path,
    progress: Progress | None = None,
    *,
    address: str | None = None,
    tries: int = 5,
    wait: float = 2.0,
    timeout: float = 60.0,
) -> list[dict[str, str]]:
    """Fetch the open release ``name`` into ``folder``: one {"file", "status"} a listed file, ``there`` or ``fetched``.

    ``address`` is where its files lie (default: PhysioNet). A broken connection is taken up again ``tries`` times, after
    ``wait`` seconds, twice as many the next time; ``timeout`` is in seconds.

    Raises:
        CohortError: in one line, with the address, where a file cannot be fetched or written, is not what the list says, or the list names
            a file outside the folder.
    """
    say = progress or (lambda line: None)
    release = OPEN[name]
    base = (address or release.address).rstrip("/") + "/"
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise CohortError(f"{base} is no web address")
    get = _Download(tries, wait, timeout, say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{LIST}.part"
        fresh.unlink(missing_ok=True)
        get(base + LIST, fresh, LIST)
        listed = read_checksums(fresh)
        _check_names(base, listed)
        os.replace(fresh, folder / LIST)
        wanted = {file: checksum for file, checksum in listed.items() if not file.startswith(release.skip)}
        rows = []
        for number, (file, checksum) in enumerate(wanted.items(), 1):
            path = folder / file
            if path.is_file() and compute_digest(path) == checksum:
                rows.append({"file": file, "status": THERE})
                continue
            say(f"{number} of {len(wanted)}: {file}")
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch_checked(get, base + urllib.parse.quote(file), path, checksum, file)
            rows.append({"file": file, "status": FETCHED})
        return rows
    except OSError as error:
        raise CohortError(f"{error.filename or folder} cannot be written ({error.strerror or error})") from None


def _check_names(base: str, listed: dict[str, str]) -> None:
    """Raise a CohortError where a name on the list would lead out of the folder: the list comes from outside."""
    for file in listed:
        parts = PurePosixPath(file).parts
        if not parts or parts[0] == "/" or ".." in parts or "\\" in file or ":" in file or "\0" in file:
            raise CohortError(f"{base}{LIST} lists {file!r}, which is no name of a file in the release")


def _fetch_checked(get: _Download, url: str, path: Path, checksum: str, file: str) -> None:
    part = path.with_name(path.name + ".part")
    resumed = part.exists()
    get(url, part, file)
    if compute_digest(part) != checksum and resumed:
        part.unlink()
        get(url, part, file)
    received = compute_digest(part)
    if received != checksum:
        part.unlink()
        raise CohortError(
            f"{url}: what came is not the file on {LIST} (its SHA-256 is {received[:12]}..., not {checksum[:12]}...)"
        )
    os.replace(part, path)


class _Cut(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Download:
    """A download of a web address into a file, resumed at the end of what is there."""

    tries: int
    wait: float
    timeout: float
    say: Progress

    def __call__(self, url: str, part: Path, file: str) -> None:
        reason = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            have = part.stat().st_size if part.exists() else 0
            try:
                self._once(url, part, have, file)
                return
            except urllib.error.HTTPError as error:
                if error.code == 416 and have:
                    return  # nothing beyond what is there; the checksum tells whether it is the file
                if error.code not in (408, 429) and error.code < 500:
                    raise CohortError(f"{url} cannot be fetched (HTTP {error.code} {error.reason})") from None
                reason = f"HTTP {error.code} {error.reason}"
            except urllib.error.URLError as error:
                reason = str(getattr(error.reason, "strerror", None) or error.reason)
            except (_Cut, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
        have = part.stat().st_size if part.exists() else 0
        raise CohortError(f"{url} cannot be fetched ({reason}); run it again to go on after {have:,} bytes")

    def _once(self, url: str, part: Path, have: int, file: str) -> None:
        headers = {"User-Agent": "crl-mmnar-bench", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=self.timeout) as answer:
            goes_on = answer.status == 206 and (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
            if answer.status == 206 and not goes_on:
                part.unlink(missing_ok=True)
                raise _Cut("the server sent another part than was asked for")
            size = (
                int(answer.headers["Content-Length"])
                if (answer.headers.get("Content-Length") or "").isdigit()
                else None
            )
            start = have if goes_on else 0
            done, said = 0, time.monotonic()
            with part.open("ab" if goes_on else "wb") as out:
                while block := answer.read(BLOCK):
                    out.write(block)
                    done += len(block)
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        of = f" of {(start + size) / 1e6:,.1f}" if size is not None else ""
                        self.say(f"{file}: {(start + done) / 1e6:,.1f}{of} MB")
            if size is not None and done < size:
                raise _Cut(f"the connection ended after {done:,} of {size:,} bytes")
