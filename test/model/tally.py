"""Counts of what a run has done, for its summary."""

from collections import Counter

from .step import Step


class Tally:
    """Counts of examples, steps and statements."""

    def __init__(self) -> None:
        self.examples = 0
        self.failed = 0
        self.by_title: Counter[str] = Counter()

    def count(self, step: Step, *, has_failed: bool) -> None:
        """Count a step.

        Args:
            step: the step.
            has_failed: whether it failed on both sides.
        """
        self.by_title[step.title] += 1
        self.failed += has_failed

    @property
    def steps(self) -> int:
        """The number of steps."""
        return sum(self.by_title.values())

    def __str__(self) -> str:
        titles = ", ".join(f"{title} {count}" for title, count in self.by_title.most_common())
        return (
            f"{self.examples} examples, {self.steps} steps ({self.failed} of them failed on both sides): {titles}"
        )
