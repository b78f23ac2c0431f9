"""Which boards of a host are joined, for any wiring."""

from types import SimpleNamespace

import pytest

from host_agent.topology import find_link_groups

SWITCH = "switch"


class FakeNvml:
    """``links`` maps a board to what each of its links ends in; ``nodes`` is the NUMA node of each board."""

    NVML_NVLINK_MAX_LINKS = 4
    NVML_NVLINK_DEVICE_TYPE_GPU, NVML_NVLINK_DEVICE_TYPE_SWITCH = 0, 2
    NVML_TOPOLOGY_SYSTEM = 50

    class NVMLError(Exception):
        pass

    def __init__(self, links=None, nodes=None):
        self.links, self.nodes = links or {}, nodes

    def nvmlDeviceGetNvLinkState(self, board, link):  # noqa: N802
        if link >= len(self.links.get(board, ())):
            raise self.NVMLError
        return self.links[board][link] is not None

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, board, link):  # noqa: N802
        return 2 if self.links[board][link] == SWITCH else 0

    def nvmlDeviceGetNvLinkRemotePciInfo(self, board, link):  # noqa: N802
        return SimpleNamespace(busId=f"0000:{self.links[board][link]}:00.0".upper().encode())

    def nvmlDeviceGetTopologyCommonAncestor(self, one, other):  # noqa: N802
        if self.nodes is None:
            raise self.NVMLError
        return 40 if self.nodes[one] == self.nodes[other] else 50


def find(nvml, boards="abcd"):
    return "".join(
        group.partition("-")[2] if group else "."
        for group in map(find_link_groups(nvml, {b: (f"0000:{b}:00.0", b) for b in boards}).get, boards)
    )


@pytest.mark.parametrize(
    ("links", "groups"),
    [
        ({board: [SWITCH] for board in "abcd"}, "0000"),
        ({board: [SWITCH] for board in "bd"}, "0121"),
        # Two bridged pairs, as A40 and H100 NVL boards have them.
        ({"a": ["c"], "c": ["a"], "b": ["d"], "d": ["b"]}, "0101"),
        # A ring, told by one end of each link only; one link is down.
        ({"a": ["b", None], "b": [None, "c"], "c": ["d"]}, "0000"),
        # A link to a board that is not shown joins nothing.
        ({"a": ["x", "b"]}, "0023"),
    ],
)
def test_boards_are_joined_by_what_their_links_reach(links, groups):
    assert find(FakeNvml(links, nodes=dict.fromkeys("abcd", 0))) == groups


def test_without_links_boards_below_one_node_are_joined():
    nvml = FakeNvml(nodes={"a": 0, "b": 1, "c": 1, "d": 0})
    assert find(nvml) == "0110"
    assert find(FakeNvml({"a": ["x"]}, nodes=nvml.nodes)) == "0110"


def test_nothing_is_claimed_where_the_driver_tells_nothing():
    assert find(FakeNvml()) == "...."
    assert find(FakeNvml(nodes={"a": 0}), "a") == "."
    assert find_link_groups(FakeNvml(), {}) == {}
