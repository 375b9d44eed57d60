"""Names of servers, Swarm services and volumes.

Contract, relied upon for ever because volumes hold people's files:

- the same input gives the same name in every release;
- different inputs give different names: the part that tells them apart is a hash of the exact
  input, so neither letter case, nor punctuation, nor Unicode folding can make two people meet;
- every name is made of `a-z`, `0-9` and `-`, starts with a letter, ends with a letter or digit,
  and fits its place: 30 characters for a hub server name (JupyterHub 6, `jupyterhub/slugs.py`),
  63 for a Swarm service name (RFC 1035 label, enforced by swarmkit's `validateAnnotations`).

The readable part is for the operator who lists volumes; nothing depends on it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

SLUG_PATTERN = r"^[a-z](-?[a-z0-9])*$"
SLUG_MAX_LENGTH = 30
SERVICE_NAME_MAX_LENGTH = 63

_SLUG = re.compile(SLUG_PATTERN)
_DIGEST_LENGTH = 20  # base32 characters: 100 bits
_READABLE_LENGTH = 24
_TRIAL = "try-"


def is_slug(text: str) -> bool:
    """Whether `text` may name an environment, hence a hub server (1-30 characters)."""
    return len(text) <= SLUG_MAX_LENGTH and _SLUG.fullmatch(text) is not None


def server_name(environment_slug: str) -> str:
    """The name of a person's server for an environment: the environment's own slug.

    One person has one server for each environment, and the hub's own pages (admin panel, token
    page, named-server table) then show which environment a server runs.
    """
    return environment_slug


def trial_name(what: str) -> str:
    """The name of the server in which somebody tries an environment or a build.

    `what` tells one from the other, such as `environment/python-intro`. The hub takes for servers
    what is a slug (`jupyterhub/slugs.py`): no environment may have a slug of this form.
    """
    return f"{_TRIAL}{_digest(('trial', what))}"


def is_trial(server: str) -> bool:
    """Whether a server's name is one of `trial_name`."""
    return re.fullmatch(rf"{_TRIAL}[a-z2-7]{{{_DIGEST_LENGTH}}}", server) is not None


def trial_volume(hub: str, user: str, server: str, launch_id: int, kind: str) -> str:
    """The volume that stands for a personal folder in one trial, and is removed after it."""
    return _name("mydocker-try", ("trial", hub, user, server, str(launch_id), kind), user)


def display_name(title: str) -> str:
    """A title as the hub takes it for a server's display name (`jupyterhub/slugs.py`).

    Visible characters and single plain spaces, at most 255: French puts other spaces before “:”.
    """
    visible = (char if unicodedata.category(char)[0] in "LMNPS" else " " for char in title)
    return " ".join("".join(visible).split())[:255].rstrip() or "?"


def service_name(hub: str, user: str, server: str) -> str:
    """The name of the Swarm service of a server, at most 63 characters."""
    return _name("mydocker", (hub, user, server), readable=f"{user}-{server}")


def preparation_name(volume: str) -> str:
    """The name of the one-off Swarm job that makes a new folder writable."""
    return _name("mydocker-prepare", (volume,), readable="")


def origin_label(hub: str, user: str, server: str) -> str:
    """What names a server in the host names of a wildcard domain: `8888-LABEL.example.org`."""
    return _digest(("origin", hub, user, server))


def dedicated_volume(hub: str, user: str, environment_slug: str) -> str:
    """The volume of a person's folder for one environment."""
    return _name(
        "mydocker-env", ("dedicated", hub, user, environment_slug), f"{user}-{environment_slug}"
    )


def global_volume(hub: str, user: str) -> str:
    """The volume of a person's folder that all their environments share."""
    return _name("mydocker-home", ("global", hub, user), readable=user)


def may_be_of(volume: str, user: str) -> bool:
    """Whether a folder's volume begins as this person's would: False is quick, and sure."""
    readable = _readable(user)
    return volume.startswith((f"mydocker-home-{readable}", f"mydocker-env-{readable}"))


def _name(prefix: str, identity: tuple[str, ...], readable: str) -> str:
    middle = _readable(readable)
    return "-".join(part for part in (prefix, middle, _digest(identity)) if part)


def _digest(identity: tuple[str, ...]) -> str:
    # Length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
    data = b"".join(
        len(encoded).to_bytes(4, "big") + encoded
        for encoded in (part.encode("utf-8", "surrogatepass") for part in identity)
    )
    digest = base64.b32encode(hashlib.sha256(data).digest()).decode("ascii").lower()
    return digest[:_DIGEST_LENGTH]


def _readable(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", folded).strip("-")[:_READABLE_LENGTH].strip("-")
