"""What the statistics know of an arm: sums over its subjects, which merge and can be taken apart again.

A metric is a ratio of two totals of each subject: `y` over `x`. The mean of a subject's one value has `x` = 1; the rate
of errors has `y` errors in `x` exchanges; the mean time of an exchange has the sum of times over the exchanges.
So subjects, who are independent, are the units of the statistics, and exchanges, which are not, never are.
`z` is what is known of a subject from before, for CUPED.

Sums hold means and products of deviations instead of sums of squares: these do not lose their digits when the mean is
large.

Rules: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

__all__ = ["NO_SUMS", "Subject", "Sums"]


class Subject(NamedTuple):
    """The totals of one subject."""

    y: float
    x: float = 1.0
    z: float = 0.0


@dataclass(frozen=True, slots=True)
class Sums:
    """Count, means, and products of deviations from the means (`yy` is the sum of squared deviations of `y`)."""

    n: int = 0
    y: float = 0.0
    x: float = 0.0
    z: float = 0.0
    yy: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    zz: float = 0.0
    zy: float = 0.0
    zx: float = 0.0

    @classmethod
    def of(cls, subjects: Iterable[Subject]) -> Self:
        """The sums of these subjects."""
        sums = cls()
        for subject in subjects:
            sums = sums.add(subject)
        return sums

    @classmethod
    def from_totals(
        cls,
        n: int,
        y: float,
        x: float,
        yy: float,
        xx: float,
        xy: float,
        z: float = 0.0,
        zz: float = 0.0,
        zy: float = 0.0,
        zx: float = 0.0,
    ) -> Self:
        """From plain totals and totals of products, as a database adds them up.

        Loses digits where means are much larger than deviations: with a mean of a million deviations nothing is left.
        """
        if n == 0:
            return cls()
        return cls(
            n,
            y / n,
            x / n,
            z / n,
            max(0.0, yy - y * y / n),
            max(0.0, xx - x * x / n),
            xy - x * y / n,
            max(0.0, zz - z * z / n),
            zy - z * y / n,
            zx - z * x / n,
        )

    @property
    def total_y(self) -> float:
        """The sum of `y` over all subjects."""
        return self.n * self.y

    @property
    def total_x(self) -> float:
        """The sum of `x`: how many exchanges, for a metric of exchanges."""
        return self.n * self.x

    @property
    def ratio(self) -> float | None:
        """The metric: `y` over `x`; None where there is no `x`."""
        return self.y / self.x if self.x else None

    @property
    def effective_subjects(self) -> float:
        """How many subjects of even weight would say as much (Kish, 1965): near 1 when one makes all the traffic."""
        squares = self.xx + self.n * self.x * self.x
        return self.total_x * self.total_x / squares if squares else 0.0

    def add(self, subject: Subject) -> Self:
        """With one subject more."""
        n, share = self.n + 1, self.n / (self.n + 1)
        dy, dx, dz = subject.y - self.y, subject.x - self.x, subject.z - self.z
        return type(self)(
            n,
            self.y + dy / n,
            self.x + dx / n,
            self.z + dz / n,
            self.yy + dy * dy * share,
            self.xx + dx * dx * share,
            self.xy + dx * dy * share,
            self.zz + dz * dz * share,
            self.zy + dz * dy * share,
            self.zx + dz * dx * share,
        )

    def replace(self, old: Subject, new: Subject) -> Self:
        """With a subject's totals changed. `old` must be what was added or last put in its place."""
        n = self.n
        if n == 0:
            raise ValueError("there is no subject to replace")
        dy, dx, dz = new.y - old.y, new.x - old.x, new.z - old.z
        oy, ox, oz = old.y - self.y, old.x - self.x, old.z - self.z
        share = (n - 1) / n
        return type(self)(
            n,
            self.y + dy / n,
            self.x + dx / n,
            self.z + dz / n,
            max(0.0, self.yy + dy * (2 * oy + dy * share)),
            max(0.0, self.xx + dx * (2 * ox + dx * share)),
            self.xy + ox * dy + oy * dx + dx * dy * share,
            max(0.0, self.zz + dz * (2 * oz + dz * share)),
            self.zy + oz * dy + oy * dz + dz * dy * share,
            self.zx + oz * dx + ox * dz + dz * dx * share,
        )

    def merge(self, other: Self) -> Self:
        """Of both together; no subject may be in both."""
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        share = other.n / n
        dy, dx, dz = other.y - self.y, other.x - self.x, other.z - self.z
        return self._joined(n, (dy * share, dx * share, dz * share), other, 1, (dy, dx, dz), self.n * share)

    def subtract(self, part: Self) -> Self:
        """Without a part that was merged before."""
        if part.n > self.n:
            raise ValueError("a part has no more subjects than the whole")
        n = self.n - part.n
        if not part.n or not n:
            return self if n else type(self)()
        share = part.n / n
        dy, dx, dz = self.y - part.y, self.x - part.x, self.z - part.z
        moved = (dy * share, dx * share, dz * share)
        return self._joined(n, moved, part, -1, (dy, dx, dz), -self.n * share)

    def _joined(
        self,
        n: int,
        moved: tuple[float, float, float],
        other: Self,
        sign: int,
        apart: tuple[float, float, float],
        weight: float,
    ) -> Self:
        dy, dx, dz = apart
        return type(self)(
            n,
            self.y + moved[0],
            self.x + moved[1],
            self.z + moved[2],
            max(0.0, self.yy + sign * other.yy + dy * dy * weight),
            max(0.0, self.xx + sign * other.xx + dx * dx * weight),
            self.xy + sign * other.xy + dx * dy * weight,
            max(0.0, self.zz + sign * other.zz + dz * dz * weight),
            self.zy + sign * other.zy + dz * dy * weight,
            self.zx + sign * other.zx + dz * dx * weight,
        )


NO_SUMS = Sums()
