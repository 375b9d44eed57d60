"""What scripts/up and scripts/test ask of the machine, where shell is clumsy.

Run with the virtual environment's Python; prints for the shell, says what went
wrong in one line on standard error, and exits with 1 then.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shlex
import socket
import sys
import time
import urllib.request
from typing import Any


def _client(timeout: float = 20) -> Any:
    import docker

    return docker.from_env(timeout=int(timeout))


def _is_own_address(address: str) -> bool:
    """Only an address of this machine can be listened on."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _proc(pid: str, name: str) -> str:
    with open(f"/proc/{pid}/{name}", errors="replace") as file:
        return file.read()


def engine() -> int:
    """Facts about the engine as shell assignments; 1 where none answers."""
    client = _client()
    info = client.info()
    swarm = info["Swarm"]
    gateway = ""
    with contextlib.suppress(Exception):
        for entry in client.api.inspect_network("bridge")["IPAM"]["Config"]:
            # a new engine names no gateway: its bridge then has the first address
            subnet = ipaddress.ip_network(entry["Subnet"], strict=False)
            if subnet.version == 4:
                gateway = gateway or entry.get("Gateway") or str(next(subnet.hosts()))
    facts = {
        "ENGINE_VERSION": info["ServerVersion"],
        "ENGINE_SWARM": swarm["LocalNodeState"],
        "ENGINE_MANAGER": "yes" if swarm.get("ControlAvailable") else "no",
        "ENGINE_GATEWAY": gateway,
        "ENGINE_IS_LOCAL": "yes" if gateway and _is_own_address(gateway) else "no",
    }
    for name, value in facts.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


def image_source(reference: str) -> int:
    """The mark that our builds leave on an image; "unmarked" for others', nothing for none."""
    import docker.errors

    with contextlib.suppress(docker.errors.ImageNotFound):
        print(_client().images.get(reference).labels.get("mydocker.source", "unmarked"))
    return 0


def swarm_init() -> int:
    """A Swarm of this one node, on an address that never leaves the machine.

    A remote engine has to pick its own address: ours would mean nothing there.
    """
    client = _client(60)
    remote = os.environ.get("DOCKER_HOST", "").startswith(("tcp:", "ssh:", "http"))
    client.swarm.init(
        advertise_addr=None if remote else "127.0.0.1",
        listen_addr="0.0.0.0:2377" if remote else "127.0.0.1:2377",
    )
    return 0


def reachable(host: str, port: str, seconds: str) -> int:
    """Whether a TCP connection can be had at all: fails fast where there is no internet."""
    try:
        socket.create_connection((host, int(port)), float(seconds)).close()
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def port_free(port: str) -> int:
    """Whether a server could listen on this port of localhost."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.settimeout(2)
                if probe.connect_ex((address, int(port))) == 0:
                    return 1
        except OSError:
            continue  # no such address family here
    return 0


def listener(port: str) -> int:
    """The id of the process that listens on a TCP port, if it can be seen."""
    wanted = f":{int(port):04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for handle in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{handle}") in inodes:
                        print(pid)
                        return 0
    return 1


def orphans(venv: str) -> int:
    """Services and proxies of this virtual environment whose hub has ended.

    A hub that was killed leaves them behind, with the ports that the next one needs.
    """
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            environment = _proc(pid, "environ").split("\0")
            names = {entry.partition("=")[0] for entry in environment}
            if not names & {"JUPYTERHUB_SERVICE_NAME", "CONFIGPROXY_AUTH_TOKEN"}:
                continue
            paths = [entry[5:].split(":") for entry in environment if entry.startswith("PATH=")]
            if not any(f"{venv}/bin" in path for path in paths):
                continue
            # the second field, the program's name, may hold blanks and brackets
            parent = _proc(pid, "stat").rpartition(")")[2].split()[1]
            if f"{venv}/bin" not in _proc(parent, "cmdline") + _proc(parent, "environ"):
                print(pid)
    return 0


def wait_http(url: str, seconds: str, pid: str) -> int:
    """0 once the address answers 200; 1 when the time is up, 2 when the process has ended."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with contextlib.suppress(OSError), opener.open(url, timeout=5) as answer:
            if answer.status == 200:
                return 0
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as command:
            if command.read():
                time.sleep(0.1)
                continue
        return 2
    return 1


def way_out(image: str) -> int:
    """Whether containers of an image, which has Python, reach the package index by themselves."""
    import subprocess
    from urllib.parse import urlsplit

    url = "https://pypi.org/simple/"
    for name in ("index-url", "proxy"):  # a proxy is what has to be reached then
        asked = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        environ = os.environ.get(f"PIP_{name.upper().replace('-', '_')}", "")
        url = environ or answer.stdout.strip() or url
    place = urlsplit(url if "://" in url else f"//{url}")
    port = place.port or (80 if place.scheme == "http" else 443)
    code = f"import socket; socket.create_connection(({place.hostname!r}, {port}), 5)"
    _client(30).containers.run(
        image, ["-c", code], entrypoint=["python3"], network_mode="bridge", remove=True
    )
    return 0


def pip_settings() -> int:
    """The machine's pip settings as a pip.conf that also holds inside an image build.

    Only what concerns reaching the index; folders of this machine mean nothing there.
    """
    import subprocess

    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        key, _, quoted = line.partition("=")
        scope, _, name = key.rpartition(".")
        value = quoted.strip().strip("'\"").replace("\\n", " ")
        if scope not in ("global", ":env:", "install"):
            continue
        if name in ("index-url", "extra-index-url"):
            value = " ".join(part for part in value.split() if part.startswith("http"))
        elif name not in ("proxy", "trusted-host", "timeout", "default-timeout", "retries"):
            continue
        if value:
            settings[name] = value
    if os.path.isfile(os.environ.get("MYDOCKER_BUILD_CA", "")):
        settings["cert"] = "/run/secrets/ca.pem"
    print("[global]")
    for name, value in settings.items():
        print(f"{name} = {value}")
    return 0


def npm_settings() -> int:
    """The machine's npm settings as an .npmrc that also holds inside an image build.

    Only what concerns reaching the registry, from npm's own files and variables.
    """
    settings: dict[str, str] = {}
    for path in _npm_files():
        with contextlib.suppress(OSError), open(path) as lines:
            for line in lines:
                key, _, value = line.partition("=")
                if value and _reaches_registry(key.strip()):
                    settings[key.strip()] = os.path.expandvars(value.strip())
    for variable, value in os.environ.items():
        key = variable.lower().removeprefix("npm_config_").replace("_", "-")
        if variable.lower().startswith("npm_config_") and _reaches_registry(key) and value:
            settings[key] = value
    if os.path.isfile(os.environ.get("MYDOCKER_BUILD_CA", "")):
        settings["cafile"] = "/run/secrets/ca.pem"
    for key, value in settings.items():
        print(f"{key}={value}")
    return 0


def _npm_files() -> list[str]:
    """npm's settings of the machine and of the person: later ones win."""
    import shutil
    import subprocess

    files = []
    if npm := shutil.which("npm"):
        command = [npm, "config", "get", "globalconfig"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        files.append(answer.stdout.strip())
    own = os.environ.get("NPM_CONFIG_USERCONFIG") or os.path.expanduser("~/.npmrc")
    return [*files, own]


def _reaches_registry(key: str) -> bool:
    return key.startswith(("//", "@")) or key in {
        "registry", "proxy", "https-proxy", "noproxy", "strict-ssl", "fetch-timeout",
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    commands = {
        "engine": engine,
        "image-source": image_source,
        "swarm-init": swarm_init,
        "reachable": reachable,
        "orphans": orphans,
        "port-free": port_free,
        "listener": listener,
        "wait-http": wait_http,
        "way-out": way_out,
        "pip-settings": pip_settings,
        "npm-settings": npm_settings,
    }
    try:
        return commands[arguments[0]](*arguments[1:])
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
