"""A runnable example: one machine, SQLite, the demonstration sign-in. `scripts/up` starts it.

For a university, docs/operators/configuration.md goes through every line.
"""

import os
from pathlib import Path

from mydocker_hub import hubconfig

c = get_config()  # noqa: F821 - given by JupyterHub

state = Path(os.environ.get("MYDOCKER_HUB_STATE", "var")).resolve()
build_settings = os.environ.get("MYDOCKER_BUILD_SETTINGS", "")
hubconfig.install(
    c,
    state=state,
    demo=True,
    hub_id=os.environ.get("MYDOCKER_HUB_ID", "mydocker"),
    database_url=os.environ.get("MYDOCKER_DATABASE_URL", ""),
    public_url=os.environ.get("MYDOCKER_PUBLIC_URL", "http://localhost:8000"),
    # With a wildcard domain each interface of kind web has an origin of its own. Browsers find
    # names under localhost on this machine: http://*.localhost:8011 works without DNS.
    wildcard_url=os.environ.get("MYDOCKER_WILDCARD_URL", ""),
    # Teachers' images are built on the engine that runs them, and pushed nowhere: right for one
    # machine. scripts/up says how builds reach the package indexes.
    build_settings=Path(build_settings) if build_settings else None,
    build_network=os.environ.get("MYDOCKER_BUILD_NETWORK", ""),
)

# The demonstration lets anybody in, so that only this machine may reach it.
c.JupyterHub.bind_url = os.environ.get("MYDOCKER_HUB_BIND_URL", "http://127.0.0.1:8000")

# The hub itself, for the servers, which call its API: on the address of Docker's bridge, which
# containers reach. Keep other machines away from it with a firewall.
connect_ip = os.environ.get("MYDOCKER_HUB_CONNECT_IP", "172.17.0.1")
c.JupyterHub.hub_bind_url = f"http://{connect_ip}:8081"
c.JupyterHub.hub_connect_ip = connect_ip
c.ConfigurableHTTPProxy.pid_file = str(state / "jupyterhub-proxy.pid")

# `scripts/up --stop` leaves nothing running. Leave this out where people work.
c.JupyterHub.cleanup_servers = True
