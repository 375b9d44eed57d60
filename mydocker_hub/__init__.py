"""mydocker_hub: a university's environments on demand, on JupyterHub and Docker Swarm.

`docs/developers/architecture.md` says where each thing lives and why.
"""

from ._version import __version__

__all__ = ["__version__"]
