"""A genome: the bits of every matrix of a network, a gate's each; to a Net and back.

Only weights are searched. Fewer bits of an activation change no byte and no cycle on a target whose tensors are int8,
so no search would take them; a recipe's ``quantize.bits`` may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinyse.core.errors import ModelError
from tinyse.graph.net import WEIGHT_BITS, Net

Genome = tuple[int, ...]
LEAST, MOST = WEIGHT_BITS


@dataclass(frozen=True)
class Genes:
    """The places that a genome sets.

    Attributes:
        net: whose. places: in the network's order.
    """

    net: Net
    places: tuple[str, ...]

    @staticmethod
    def of(net: Net) -> Genes:
        """Every matrix, in full; bits of activations stay as the network has them."""
        return Genes(net, tuple(place for place in net.places if "/" in place))

    def net_of(self, genome: Sequence[int]) -> Net:
        """The network with the genome's bits.

        Raises:
            ModelError: the genome is another network's, or bits out of range.
        """
        if len(genome) != len(self.places):
            raise ModelError(f"a genome of {len(genome)} genes, and the network has {len(self.places)}",
                             "a genome of this network")
        kept = {place: bits for place, bits in self.net.bits if "/" not in place}
        return self.net.with_bits(kept | dict(zip(self.places, map(int, genome), strict=True)))

    def alike(self, bits: int) -> Genome:
        """The homogeneous genome."""
        return (bits,) * len(self.places)

    def bits(self, genome: Sequence[int]) -> Mapping[str, int]:
        """By place, as ``quantize.bits`` has them."""
        return dict(self.net_of(genome).bits)
