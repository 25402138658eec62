"""The result by groups of cases: passed of total, and the worst difference seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.parity.compare import Verdict


@dataclass
class Row:
    passed: int = 0
    total: int = 0
    worst: int = 0
    worst_mean: float = 0.0


@dataclass
class Table:
    """Rows by group, in the order the groups came."""

    rows: dict[str, Row] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, group: str, case_id: str, verdict: Verdict | None) -> None:
        """Count a case; without a verdict the server refused it."""
        row = self.rows.setdefault(group, Row())
        row.total += 1
        if verdict is None or verdict.problems:
            self.failed.append(case_id)
        else:
            row.passed += 1
        if verdict is not None:
            row.worst, row.worst_mean = max(row.worst, verdict.worst), max(row.worst_mean, verdict.mean)

    def text(self) -> str:
        """A Markdown table, and the names of what failed."""
        lines = ["| group | passed | worst pixel | worst mean |", "|---|---|---|---|"]
        lines += [
            f"| {group} | {row.passed}/{row.total} | {row.worst} | {row.worst_mean:.3f} |"
            for group, row in self.rows.items()
        ]
        passed, total = sum(row.passed for row in self.rows.values()), sum(row.total for row in self.rows.values())
        worst = max(row.worst for row in self.rows.values())
        lines.append(f"| **all** | **{passed}/{total}** | {worst} | |")
        return "\n".join(lines) + ("\n\nfailed: " + ", ".join(self.failed) if self.failed else "") + "\n"
