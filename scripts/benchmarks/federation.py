"""What a large federation costs the hub: the load of its metadata, and one sign-in's request.

With made-up identity providers of a realistic size (three certificates, logos, a description),
signed in one document. In a process that is a hub as far as the federation is concerned:

  load      from the start of a refresh to its end; a process of its own does it
  memory    by how much the hub's process grew meanwhile
  held      for how long the hub's event loop did nothing else, at most; and for how long of such a
            time its thread computed: the rest is for CPUs that others had, or for files
  search    one page of the institutions that match a word
  request   one identity provider out of the store, and the signed request to send people there with
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mydocker_hub.federation import sp
from mydocker_hub.federation.refresh import Federation
from mydocker_hub.identity.settings import SignInSettings
from tests.federation.documents import MD, Signer, aggregate, entity

GOAL_HELD = 100  # ms
GOAL_MEMORY = 10  # MB


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="3000,6500", help="identity providers, one run for each")
    parser.add_argument("--requests", type=int, default=100, help="of each kind")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Figures by number of identity providers."""
    results = {}
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="mydocker-bench-") as folder:
            megabytes = write_aggregate(Path(folder), size)
            done = subprocess.run(  # without the memory that making the document took
                [sys.executable, "-m", __name__, folder, str(size), str(options.requests)],
                cwd=Path(__file__).parent.parent.parent,
                stdout=subprocess.PIPE,
                check=True,
            )
        figures = {"document_mb": megabytes, **json.loads(done.stdout)}
        results[str(size)] = figures
        print(
            f"{size:5} identity providers, {megabytes:.0f} MB:  load {figures['load_s']:.1f} s"
            f"  memory {figures['memory_mb']:+.1f} MB{goal(figures['memory_mb'], GOAL_MEMORY)}"
            f"  held {figures['held_ms']:.0f} ms{goal(figures['held_ms'], GOAL_HELD)},"
            f" computing {figures['held_computing_ms']:.0f} ms"
            f"  search {figures['search_ms']:.1f} ms (p95 {figures['search_p95_ms']:.1f})"
            f"  request {figures['request_ms']:.1f} ms (p95 {figures['request_p95_ms']:.1f})",
            flush=True,
        )
    return results


def goal(value: float, limit: float) -> str:
    return f" ({'met' if value <= limit else 'not met'}: {limit})"


def write_aggregate(folder: Path, size: int) -> float:
    """Write and sign `aggregate.xml`; its size in MB."""
    rng = random.Random(1)
    words = (
        "Université",
        "École",
        "Institut",
        "d'été",
        "de Nîmes",
        "polytechnique",
        "des sciences",
    )
    logo = (
        '<mdui:Logo height="16" width="16">https://static.example/16.png</mdui:Logo>'
        '<mdui:Logo height="60" width="80">https://static.example/80.png</mdui:Logo>'
    )

    def key() -> str:
        certificate = base64.b64encode(rng.randbytes(1100)).decode()
        return (
            '<md:KeyDescriptor><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">'
            f"<ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>"
            "</ds:KeyInfo></md:KeyDescriptor>"
        )

    def one(number: int) -> str:
        name = " ".join(rng.choices(words, k=3))
        keywords = '<mdui:Keywords xml:lang="fr">' + " ".join(rng.choices(words, k=5))
        return entity(
            f"univ-{number}",
            fr=f"{name} {number}",
            en=f"University {number} of {name}",
            logo=logo,
            keywords=f"{keywords}</mdui:Keywords>"
            f'<mdui:Description xml:lang="fr">{"x" * 1500}</mdui:Description>',
            certificate=key() * 3,
        )

    signer = Signer(folder)
    unsigned = folder / "unsigned.xml"
    unsigned.write_text(aggregate(*map(one, range(size))))
    file = folder / "aggregate.xml"
    subprocess.run(
        [
            *("xmlsec1", "--sign", "--privkey-pem", f"{signer.key},{signer.certificate}"),
            *("--id-attr:ID", f"{MD}:EntitiesDescriptor", "--output", file, unsigned),
        ],
        check=True,
        capture_output=True,
    )
    unsigned.unlink()
    return file.stat().st_size / 1024 / 1024


# --- the process that stands for the hub ---------------------------------------------------------


@dataclass(frozen=True)
class Site:
    settings: SignInSettings
    state: Path
    hub_url: str = "https://hub.example.org/hub/"


async def measure(folder: Path, size: int, requests: int) -> dict[str, float]:
    # threads and connections that are there anyhow
    (folder / "small").mkdir()
    write_aggregate(folder / "small", 1)
    first = Federation(Site(trusting(folder / "small"), folder / "small"))
    await first.refresh()
    await asyncio.to_thread(sp.open_keys, first.site)

    federation = Federation(Site(trusting(folder), folder / "state"))
    held: list[tuple[float, float]] = []
    ticking = asyncio.create_task(tick(held))
    await asyncio.sleep(0.1)
    held.clear()
    before = resident()
    started = time.monotonic()
    if not await federation.refresh():
        raise SystemExit(federation.status.error)
    load = time.monotonic() - started
    held_of_load = longest(held)
    await asyncio.to_thread(sp.open_keys, federation.site)

    async def request() -> None:
        number = random.randrange(size)
        idp = await federation.idp(f"https://idp.univ-{number}.example/idp")
        await asyncio.to_thread(sp.login_request, federation, idp, f"_{number}", False)

    async def search() -> None:
        await federation.search(random.choice(["ete", "nimes 3", "university 12", "science"]))

    request_ms = await times(request, requests)
    search_ms = await times(search, requests)
    after = resident()
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    return {
        "load_s": load,
        "memory_mb": after - before,
        "held_ms": held_of_load[0],
        "held_computing_ms": held_of_load[1],
        "held_later_ms": longest(held)[0],
        "request_ms": statistics.median(request_ms),
        "request_p95_ms": statistics.quantiles(request_ms, n=20)[-1],
        "search_ms": statistics.median(search_ms),
        "search_p95_ms": statistics.quantiles(search_ms, n=20)[-1],
    }


def trusting(folder: Path) -> SignInSettings:
    metadata = {
        "file": str(folder / "aggregate.xml"),
        "fingerprints": [Signer(folder).fingerprint],
    }
    return SignInSettings.model_validate({"federation": {"metadata": metadata}})


async def tick(held: list[tuple[float, float]]) -> None:
    """Note by how much each sleep of a millisecond was late, and what was computed meanwhile."""
    while True:
        before, computed = time.monotonic(), time.thread_time()
        await asyncio.sleep(0.001)
        held.append((time.monotonic() - before - 0.001, time.thread_time() - computed))


def longest(held: list[tuple[float, float]]) -> tuple[float, float]:
    """The longest of each, in milliseconds."""
    return max(late for late, _ in held) * 1000, max(computed for _, computed in held) * 1000


async def times(work: Callable[[], Awaitable[None]], count: int) -> list[float]:
    taken = []
    for _ in range(count):
        started = time.monotonic()
        await work()
        taken.append((time.monotonic() - started) * 1000)
    return taken


def resident() -> float:
    """The memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


if __name__ == "__main__":
    figures = asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    json.dump(figures, sys.stdout)
