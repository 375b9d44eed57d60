"""How long the first student of a Monday morning waits.

A real hub, a real registry, an image that is only there, one machine. In turns:

  cold      nobody has brought the image: the start waits for it
  warm      the image is on the machine since the last start
  brought   the machine has lost the image, and it was brought before the session

The times are from the click until the hub says that the server is ready. `bringing` is how long it
takes until every machine has the image, as the session's page says it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import docker

from tests.monday import Monday, monday

GOAL = 1.2  # times a warm start


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=500, help="of the image, in MB")


def run(options: argparse.Namespace) -> dict[str, Any]:
    engine = docker.from_env(timeout=300)
    config = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    address = config.get("Gateway") or config["Subnet"].split("/")[0].rsplit(".", 1)[0] + ".1"
    size = options.size * 1_000_000
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        monday(engine, Path(folder), address, size=size) as morning,
    ):
        times = asyncio.run(_measure(morning, options.repeats))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"an image of {options.size} MB, {options.repeats} repeats; median seconds")
    for name, median in medians.items():
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        print(f"  {name:<10}{median:7.2f}   ({spread})")
    ratio = medians["brought"] / medians["warm"]
    print(f"brought / warm: {ratio:.2f} (goal: at most {GOAL})")
    return {"size_mb": options.size, "seconds": times, "ratio": ratio}


async def _measure(morning: Monday, repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "brought", "bringing")}
    for _ in range(repeats):
        morning.forget()
        times["cold"].append(morning.start())
        times["warm"].append(morning.start())
        morning.forget()
        booked = morning.book(minutes=20)
        _, seconds = await morning.prepare(booked)
        times["bringing"].append(seconds)
        times["brought"].append(morning.start())
        morning.cancel(booked)
        await morning.look()
    return times
