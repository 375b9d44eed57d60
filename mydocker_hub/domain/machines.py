"""The machines of a Swarm: what they have, and which of them may run something."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from .environment import Model


class Machine(Model):
    """A node of the Swarm. `generic` counts its generic resources, such as GPUs, by their kind.

    `up` says that Swarm gives it work: it answers, and nobody has taken it out of service.
    """

    id: str
    name: str
    up: bool = True
    role: str = "worker"
    system: str = ""
    architecture: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    engine_labels: dict[str, str] = Field(default_factory=dict)
    cpus: float = 0
    memory_bytes: int = 0
    generic: dict[str, float] = Field(default_factory=dict)

    def may_run(self, constraints: Iterable[str]) -> bool:
        """Whether placement constraints let something run here, as Swarm reads them.

        Values are compared without regard to case (swarmkit, `manager/constraint/constraint.go`).
        What cannot be read fits nowhere.
        """
        return all(self._fits(constraint) for constraint in constraints)

    def _fits(self, constraint: str) -> bool:
        found = re.fullmatch(r"\s*([^\s=!]+)\s*(==|!=)\s*(.*?)\s*", constraint)
        if found is None:
            return False
        name, operator, wanted = found.groups()
        value = self._value(name)
        if value is None:
            return False
        return (value.lower() == wanted.lower()) == (operator == "==")

    def _value(self, name: str) -> str | None:
        values = {
            "node.id": self.id,
            "node.hostname": self.name,
            "node.role": self.role,
            "node.platform.os": self.system,
            "node.platform.arch": self.architecture,
        }
        if name.lower() in values:
            return values[name.lower()]
        for prefix, labels in (
            ("node.labels.", self.labels),
            ("engine.labels.", self.engine_labels),
        ):
            if name.lower().startswith(prefix):
                return labels.get(name[len(prefix) :], "")
        return None
