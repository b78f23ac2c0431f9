"""What a pool has, for offers and for the rule of spot prices."""

from dataclasses import dataclass

from chalicelib.catalog.service import Capacity
from chalicelib.fleet.service import FleetStore
from chalicelib.fleet.watch import WatchStore


@dataclass(frozen=True, slots=True)
class FleetCapacity:
    """The catalogue's `CapacityReader`."""

    store: FleetStore
    watch: WatchStore

    def read_capacity(self, gpu_type: str, region: str) -> Capacity:
        """Three calls to the database: free hosts, the pool's totals, its score."""
        free = self.store.list_free(gpu_type, region)
        totals = self.watch.get_pool_totals(gpu_type, region)
        score = self.watch.get_pool_score(gpu_type, region)
        return Capacity(
            free_gpus=sum(free),
            largest_block_gpus=max(free, default=0),
            total_gpus=sum(totals.gpus.values()),
            closed_gpus=totals.closed,
            reliability_ppm=None if score is None else score.reliability_ppm,
        )

    def count_free(self, gpu_type: str, region: str) -> int:
        return self.store.count_free(gpu_type, region)
