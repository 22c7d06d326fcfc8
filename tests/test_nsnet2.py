"""nsNet2 and its exits: the paper's size, what its options make, what its parts read."""

from __future__ import annotations

import pytest

from tinyse import families
from tinyse.core.errors import RecipeError
from tinyse.graph.net import Net

PAPER = {"first": 400, "gru": (400, 400), "dense": (600, 600)}


def made(**options: object) -> Net:
    family = families.load("nsnet2")
    return family.net(family.options(options, "x"), family.ends)


def test_the_paper_s_network_has_its_2_78_million_weights() -> None:
    net = made(**PAPER)
    matrices = sum(array.size for array in net.arrays.values() if array.matrix)
    assert matrices == net.macs() == 257 * 400 + 2 * 3 * 400 * 800 + 400 * 600 + 600 * 600 + 600 * 257 == 2_777_000
    assert round(net.parameters / 1e6, 2) == 2.78 and len(net.results) == 1
    assert net.shapes[net.input.name] == net.shapes[net.results[-1].node] == (1, 1, 257)
    assert net.states == {"layer_2.h": (1, 1, 400), "layer_3.h": (1, 1, 400)}
    assert made().parameters == 342_081


@pytest.mark.parametrize("topology", ["plain", "split"])
@pytest.mark.parametrize("exits", [(1,), (2, 3), (1, 2, 3, 4)])
def test_exits_add_masks_and_split_doubles_their_layer(topology: str, exits: tuple[int, ...]) -> None:
    whole, net = made(**PAPER), made(**PAPER, exits=exits, topology=topology)
    weights = {1: 257 * 400, 2: 3 * 400 * 800, 3: 3 * 400 * 800, 4: 400 * 600}
    heads = [257 * (600 if number > 3 else 400) for number in exits]
    doubled = [weights[number] for number in exits] if topology == "split" else [0] * len(exits)
    given = [part for part, result in enumerate(net.results) if result.node]
    assert len(given) == len(exits) + 1 and given[-1] == len(net.results) - 1
    assert [net.macs(part) for part in given[:-1]] == [sum(pair) for pair in zip(heads, doubled, strict=True)]
    assert net.macs() == whole.macs() + sum(heads) + sum(doubled)
    assert not {node.name for node in net.nodes[1:] if node.part in given[:-1]} & {
        name for node in net.nodes for name in node.ins if net[name].part != node.part}, "a mask's part is read"


def test_a_router_is_a_part_of_its_own_and_leaves_the_others_as_they_are() -> None:
    plain, net = made(exits=(1, 2), topology="plain"), made(exits=(1, 2), topology="plain", router=8)
    assert [node.name for node in net.nodes if node.part == 0] == ["features", "router_in", "router", "choice"]
    assert net.macs(0) == 257 * 8 + 2 * 8 * 16 + 8 * 3 and net.shapes["choice"] == (1, 1, 3)
    assert net.needs == ((0,), (1,), (1, 2), (1, 3), (1, 3, 4), (1, 3, 5)) and net.exits == (2, 4, 5)
    assert plain.needs == ((0,), (0, 1), (0, 2), (0, 2, 3), (0, 2, 4)) and plain.exits == (1, 3, 4)
    assert {name: array for name, array in net.arrays.items() if net[name.split("/")[0]].part} == plain.arrays


@pytest.mark.parametrize(("options", "said"), [
    ({"exits": [2, 1]}, "exits: [2, 1] are not layers in order (some of 1 to 4, each once)"),
    ({"exits": [5]}, "exits: [5] are not layers in order (some of 1 to 4, each once)"),
    ({"exits": [0]}, "exits: [0] are not layers in order (some of 1 to 4, each once)"),
    ({"exits": [2, 2]}, "exits: [2, 2] are not layers in order (some of 1 to 4, each once)"),
    ({"router": 4}, "router: 4 units choose among exits, and there is one (exits: [1, 2, 3])"),
    ({"topology": "double"}, "topology: 'double' is not known (plain or split)"),
    ({"bits": 4}, "gru: bits = 4 (8 or 16)"),
])
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        made(**options)
    assert caught.value.line().endswith(said) and "\n" not in caught.value.line()
