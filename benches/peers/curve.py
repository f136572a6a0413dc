"""What is read off the measured points: speed at a recall, and how far a walk is from what the memory allows."""

import math
from dataclasses import dataclass


def at_recall(points: list[dict], target: float, name: str, log: bool = False) -> float | None:
    """A value at a recall, on the line between the two points around it; none if there are no such two.

    With `log` the line is straight for the value's logarithm: speeds fall by a ratio for each step of recall.
    """
    ordered = sorted((point["recall"], point[name]) for point in points)
    for (low, low_value), (high, high_value) in zip(ordered, ordered[1:]):
        if low <= target <= high and low < high:
            share = (target - low) / (high - low)
            if log:
                return math.exp((1 - share) * math.log(low_value) + share * math.log(high_value))
            return (1 - share) * low_value + share * high_value
    return None


@dataclass(frozen=True)
class Limit:
    """The least time that a walk of so many hops and distances can take.

    A hop waits once for the memory, as the next node is known only when the last one has been looked at. The distances
    of a hop are independent: they cost the kernel and a little around it, or the bytes read, whichever is more.
    """

    hop_ns: float
    kernel_ns: float
    around_ns: float
    bytes_per_distance: float
    bytes_per_ns: float

    def us(self, hops: float, distances: float) -> float:
        """Microseconds a query."""
        compute = distances * (self.kernel_ns + self.around_ns)
        read = distances * self.bytes_per_distance / self.bytes_per_ns
        return (hops * self.hop_ns + max(compute, read)) / 1000
