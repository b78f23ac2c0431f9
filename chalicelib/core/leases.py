"""A lease: one GPU at one epoch. Whoever acts on a GPU names both; an older epoch is refused."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    gpu_uuid: str
    epoch: int

    def advance(self) -> "Lease":
        return Lease(self.gpu_uuid, self.epoch + 1)
