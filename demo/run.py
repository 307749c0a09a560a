"""Show the main job end to end, on loopback: publish GSM8K, stop the Hub, load it all the same.

    python demo/run.py

The Hub and the S3 server are those of the tests; the people are processes with a store and an
HF_HOME of their own. Exits with 1 where anything is not as it should be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.rig.hub import LoopbackHub  # noqa: E402
from tests.rig.s3 import MotoServer  # noqa: E402
from tests.rig.s3_proxy import RecordingProxy, Request  # noqa: E402

SCRIPT = ROOT / "demo" / "teammate.py"
BUCKET = "team-datasets"
PUBLISH = ("download", "openai/gsm8k", "--name", "main", "--make-public")
# The script's loads. Streaming comes first, from an empty store: it must store nothing.
LOADS = {
    "stream": 'split="test", streaming=True',
    "whole": "every split",
    "slice": 'split="train[:10%]+test"',
}
LINE = "    {:<9} {:<29} {:<12} {:>10} {:>7} {:>6}   {:<12}  {}"
HEADER = LINE.format("who", "load", "answered by", "bytes", "ms", "rows", "sha256", "= stock")
LOCAL = "local store"
CHILD_SECONDS = 60
# What would let the settings of whoever runs this into the demo.
FOREIGN = ("HGLOC_", "AWS_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "PYTHONPATH")


class DemoError(Exception):
    """A step could not be done."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a machine of their own: a folder, and an environment."""

    name: str
    folder: Path
    env: dict[str, str]

    @property
    def stored_files(self) -> list[Path]:
        """Return what this person's hf_localize has stored."""
        return [path for path in (self.folder / "store").rglob("*") if path.is_file()]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run Python with *command* at this person's machine."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=CHILD_SECONDS,
            check=False,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What one load did.

    *requests* to S3 and *size_bytes* from S3 and Hub are those of its process.
    """

    who: str
    name: str
    source: str
    requests: tuple[Request, ...]
    size_bytes: int
    milliseconds: int
    rows: int
    sha256: str

    def equals(self, stock: Load) -> bool:
        """Tell whether the rows are those of *stock*."""
        return (self.rows, self.sha256) == (stock.rows, stock.sha256)

    def line(self, stock: Load | None = None) -> str:
        """Return a line of the table, compared with *stock* (None: this is stock)."""
        size = "" if stock is None else f"{self.size_bytes:,}"
        verdict = "" if stock is None else "=" if self.equals(stock) else "DIFFERS"
        numbers = (size, f"{self.milliseconds:,}", f"{self.rows:,}")
        return LINE.format(
            self.who, LOADS[self.name], self.source, *numbers, self.sha256[:12], verdict
        ).rstrip()


@dataclass(slots=True)
class Checks:
    """What the demo claims, and whether it was so."""

    failed: int = 0
    lines: list[str] = field(default_factory=list)

    def expect(self, is_so: bool, claim: str) -> None:
        """Note whether *claim* held."""
        self.failed += not is_so
        self.lines.append(f"    {'ok    ' if is_so else 'FAILED'}  {claim}")


@dataclass(frozen=True, slots=True)
class Stage:
    """The servers, and the people who use them."""

    folder: Path
    hub: LoopbackHub
    server: MotoServer
    s3: RecordingProxy

    def person(self, name: str, *, credentials: bool = False, activated: bool = False) -> Person:
        """Seat *name* at a new machine, with hf_localize *activated* there for every program."""
        folder = self.folder / name
        folder.mkdir()
        env = (
            _clean_environment()
            | self.hub.client_environment
            | {
                "HF_HOME": str(folder / "hf"),
                "HGLOC_S3_BUCKET_NAME": BUCKET,
                "HGLOC_S3_ENDPOINT_URL": self.s3.url,
                "HGLOC_DATASETS_STORE_PATH": str(folder / "store"),
                "HGLOC_LOG_LEVEL": "INFO",
            }
        )
        if credentials:
            env["HGLOC_AWS_ACCESS_KEY_ID"] = self.server.access_key
            env["HGLOC_AWS_SECRET_ACCESS_KEY"] = self.server.secret_key
        if activated:
            env["PYTHONPATH"] = str(ROOT / "sitecustomize_example")
            env["HGLOC_AUTO_INSTALL"] = "1"
        return Person(name, folder, env)

    def load(self, person: Person, *names: str) -> dict[str, Load]:
        """Have *person* run the script for these loads, in a new process, and measure it."""
        self.hub.clear()
        self.s3.clear()
        done = person.run(str(SCRIPT), *names)
        if done.returncode:
            raise DemoError(f"{person.name}: {SCRIPT.name} failed:\n{done.stdout}{done.stderr}")
        requests = self.s3.requests
        size_bytes = sum(request.response_bytes for request in requests) + self.bytes_from_hub
        said = [json.loads(line) for line in done.stdout.splitlines()]
        return {
            one["load"]: Load(
                person.name,
                one["load"],
                source,
                requests,
                size_bytes,
                one["milliseconds"],
                one["rows"],
                one["sha256"],
            )
            for one, source in zip(said, _sources(person, done.stderr, len(said)), strict=True)
        }

    @property
    def bytes_from_hub(self) -> int:
        """Return how much the Hub has sent since the last load began."""
        return sum(request.bytes_sent for request in self.hub.requests)


def main() -> int:
    """Play the five steps; return the exit status."""
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _end)
    started = time.monotonic()
    checks = Checks()
    try:
        with contextlib.ExitStack() as stack:
            _play(_set_up(stack), checks)
    except (DemoError, OSError, RuntimeError, subprocess.TimeoutExpired) as exc:
        print(f"\nThe demo could not go on: {exc}", file=sys.stderr)
        return 1
    print("\nChecked", *checks.lines, sep="\n")
    print(f"\n{len(checks.lines) - checks.failed} of {len(checks.lines)}, {time.monotonic() - started:.0f} s")
    return 1 if checks.failed else 0


def _set_up(stack: contextlib.ExitStack) -> Stage:
    """Start the servers; *stack* stops them and removes the folder, in reverse."""
    temporary = tempfile.TemporaryDirectory(prefix="hf_localize-demo-", ignore_cleanup_errors=True)
    folder = Path(stack.enter_context(temporary))
    hub = stack.enter_context(LoopbackHub(ROOT / "tests" / "data"))
    server = stack.enter_context(MotoServer(folder / "s3"))
    server.create_bucket(BUCKET)
    s3 = stack.enter_context(RecordingProxy(server.endpoint_url))
    return Stage(folder, hub, server, s3)


def _play(stage: Stage, checks: Checks) -> None:
    print("GSM8K (openai/gsm8k, main) is loaded by demo/teammate.py, which knows only `datasets`.")
    print("sha256 is over the rows; ms is from the call to the last row read.\n")
    print(HEADER)
    stock = stage.load(stage.person("stock"), *LOADS)
    print(*(load.line() for load in stock.values()), sep="\n")

    print("\n(1) A publisher downloads it from the Hub, and publishes it privately and publicly")
    _publish(stage)
    print("\n(2) The Hub is stopped")
    stage.hub.stop()

    teammate = stage.person("teammate", credentials=True, activated=True)
    outsider = stage.person("outsider", activated=True)
    print("\n(3) A teammate with credentials and an empty store runs the script, unchanged")
    by_teammate, teammate_again = _run_script(stage, teammate, stock, checks)
    print("\n(4) An outsider without credentials does the same, through the public ZIP")
    by_outsider, outsider_again = _run_script(stage, outsider, stock, checks)
    print("\n(5) A second load is local")
    print(HEADER)
    again = [teammate_again, outsider_again]
    print(*(load.line(stock[load.name]) for load in again), sep="\n")

    _check_sources(checks, by_teammate, "private S3")
    _check_sources(checks, by_outsider, "public ZIP")
    _check_credentials(checks, by_teammate["whole"], by_outsider.values())
    _check_content(checks, stock, [*by_teammate.values(), *by_outsider.values(), *again])
    _check_silence(checks, [by_teammate["slice"], by_outsider["slice"], *again])
    checks.expect(not (_answers(stage.hub.url) or stage.hub.requests), "the Hub was down all the while")


def _publish(stage: Stage) -> None:
    print(f"    $ hg-localize {' '.join(PUBLISH)}")
    stage.hub.clear()
    started = time.monotonic()
    done = stage.person("publisher", credentials=True).run("-m", "hf_localize", *PUBLISH)
    seconds = time.monotonic() - started
    print(*(f"    {line}" for line in done.stderr.splitlines()), sep="\n")
    if done.returncode:
        raise DemoError(f"publishing ended with {done.returncode}")
    found = stage.server.client().list_objects_v2(Bucket=BUCKET)["Contents"]
    public = [item["Size"] for item in found if item["Key"].startswith("public_datasets")]
    private = [item["Size"] for item in found if not item["Key"].startswith("public_datasets")]
    print(f"    from the Hub {stage.bytes_from_hub:,} bytes, in {seconds:.1f} s with the start of Python")
    for place, sizes in (("private", private), ("public", public)):
        print(f"    in S3, {place}: {len(sizes)} objects, {sum(sizes):,} bytes")


def _run_script(
    stage: Stage, person: Person, stock: dict[str, Load], checks: Checks
) -> tuple[dict[str, Load], Load]:
    """Have *person* run each load from an empty store, and return them and a second load.

    Each load has a process, so that its bytes can be told apart; the second load shares one
    with the slice, since neither may move any.
    """
    print(HEADER)
    done = stage.load(person, "stream")
    print(done["stream"].line(stock["stream"]))
    checks.expect(not person.stored_files, f"streaming left nothing in the {person.name}'s store")
    done |= stage.load(person, "whole")
    print(done["whole"].line(stock["whole"]))
    later = stage.load(person, "slice", "whole")
    print(later["slice"].line(stock["slice"]))
    return {**done, "slice": later["slice"]}, later["whole"]


def _check_sources(checks: Checks, loads: dict[str, Load], source: str) -> None:
    answered = {name: load.source for name, load in loads.items()}
    is_so = answered == {"stream": source, "whole": source, "slice": LOCAL}
    checks.expect(is_so, f"the {loads['whole'].who} was served by {source}, then by the {LOCAL}")


def _check_credentials(checks: Checks, signed: Load, anonymous: Iterable[Load]) -> None:
    sent = [request for load in anonymous for request in load.requests]
    is_so = any(map(_is_signed, signed.requests)) and sent and not any(map(_is_signed, sent))
    checks.expect(bool(is_so), f"the outsider's {len(sent)} requests carried no credentials")


def _check_content(checks: Checks, stock: dict[str, Load], loads: list[Load]) -> None:
    equal = sum(load.equals(stock[load.name]) for load in loads)
    checks.expect(equal == len(loads), f"{equal} of {len(loads)} loads gave stock's rows")


def _check_silence(checks: Checks, loads: list[Load]) -> None:
    requests = sum(len(load.requests) for load in loads)
    is_so = not requests and all(load.source == LOCAL for load in loads)
    checks.expect(is_so, f"{len(loads)} loads from the {LOCAL} made {requests} requests")


def _is_signed(request: Request) -> bool:
    return "authorization" in request.headers or "X-Amz-Signature" in request.query


def _clean_environment() -> dict[str, str]:
    """Return the environment without what would make a person somebody else."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
    return kept | {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PYTHONIOENCODING": "utf-8",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }


def _sources(person: Person, log: str, count: int) -> list[str]:
    """Return who answered each load, by hf_localize's lines; show what else it said."""
    if "HGLOC_AUTO_INSTALL" not in person.env:
        return ["Hub"] * count
    for line in log.splitlines():
        if "←" not in line:
            print(f"    {person.name} | {line}")
    found: list[str] = re.findall(r"← ([^,\n]+),", log)
    if len(found) != count:
        raise DemoError(f"{person.name}: {count} loads, but {len(found)} lines tell a source:\n{log}")
    return found


def _answers(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


def _end(*_: object) -> NoReturn:
    sys.exit(143)  # So that the servers are stopped on the way out.


if __name__ == "__main__":
    sys.exit(main())
