"""What the demo prints at its end, and whether it went as it should."""

import json
from dataclasses import dataclass
from typing import Any

from example_project.demo.servers import NODES
from example_project.demo.traffic import Tally
from example_project.trace import READ, WRITE
from tests.servers.cluster import PRIMARY

ROLES = {
    alias: "primary" if node == PRIMARY else "replica"
    for nodes in NODES.values()
    for alias, node in nodes.items()
}
REPLICAS = [alias for alias, role in ROLES.items() if role == "replica"]
WORKERS = 2


@dataclass(frozen=True)
class Report:
    tally: Tally
    seconds: float
    status_table: str
    status: dict[str, Any]
    health_code: int
    health: str

    def __str__(self) -> str:
        rate = self.tally.requests / self.seconds
        return "\n".join(
            [
                "\nWhere the statements ran, as the site's own response headers say:\n",
                *self._statements(),
                f"\n{self.tally.requests} requests in {self.seconds:.1f} s ({rate:.0f}/s), "
                f"{len(self.tally.errors)} failed.",
                "\nGET /health/?format=json\n",
                _indented(self.health),
                "\nmanage.py poolstatus, from another process while the workers were busy:\n",
                self.status_table,
            ]
        )

    def _statements(self) -> list[str]:
        rows = [f"{'alias':<16} {'role':<8} {'reads':>8} {'writes':>8}"]
        for alias, role in ROLES.items():
            reads, writes = self._count(READ, alias), self._count(WRITE, alias)
            rows.append(f"{alias:<16} {role:<8} {reads:>8} {writes:>8}")
        return rows

    def _count(self, header: str, alias: str) -> int:
        return self.tally.statements[header, alias]

    def problems(self) -> list[str]:
        """Return a sentence for each thing that should not have happened."""
        sentences = []
        if errors := self.tally.errors:
            sentences.append(f"{len(errors)} visits failed, the first with: {errors[0]}")
        for alias in REPLICAS:
            if not self._count(READ, alias):
                sentences.append(f"No read ran on {alias}.")
            if writes := self._count(WRITE, alias):
                sentences.append(f"{writes} writes ran on {alias}, which is a replica.")
        if self.health_code != 200:
            sentences.append(f"The health page answered {self.health_code}.")
        if (seen := len(self.status["processes"])) < WORKERS:
            sentences.append(f"poolstatus saw {seen} of {WORKERS} worker processes.")
        return sentences


def _indented(text: str) -> str:
    """Return JSON in a readable form; a page that should be JSON and is not, as it is."""
    try:
        return json.dumps(json.loads(text), indent=2)
    except ValueError:
        return text
