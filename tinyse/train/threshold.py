"""Learned-threshold pruning of weights, blocks or units: hard masks forward, a sigmoid's gradient backward.

Papers: TinyLSTMs (masks, thresholds, regulariser), Weight, Block or Unit? (the three structures). With n_g the norm of
group g (``tinyse.graph.groups``) and tau_k the threshold of its layer::

    forward    r_g = 1(n_g >= tau_k),   w <- w * r_g          tau_k = spread_k * softplus(theta_k) >= 0
    loss       + lambda * sum_g size_g r_g n_g / sum_g size_g
    backward   dr/dn = -dr/dtau = s (1 - s) / T,   s = sigmoid((n_g - tau_k) / T)

Ours: the norms are comparable across groups and layers; thresholds move in units of the spread of their layer's
norms, which also sets T; and nobody tunes lambda. A threshold's gradient is B_k - lambda A_k: what the loss says
against it, and what the regulariser says for it. B_k / A_k is the layer's price of a zero, and the threshold rises
where lambda is above it: at one lambda all layers come to pay the same. lambda is the mean price times e^c, and the
controller moves c so that thresholds follow the sparsity schedule by themselves; what they miss, one shift common to
all layers closes at every interval. At the end masks freeze, lambda is zero, and the survivors are fine-tuned.

The network holds masked weights whenever it runs, so the gradient that comes in is that of the masked weights and all
of the above is arithmetic on it. The dense weights, from which a group may return until masks freeze, are kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyse.graph.groups import DEFAULT_BLOCK, Structure, array_scales, is_matrix, masks, sparsity, structure_groups
from tinyse.graph.units import units_of
from tinyse.train.keras import tf
from tinyse.train.prune import Mask, Schedule, short_name

Vector = NDArray[np.float64]
WIDTH = 0.25
"""Temperature T of the surrogate, in spreads of a layer's norms."""
TRAVERSE = 4.0
"""Spreads that a threshold can cross between begin and end by its gradient; four hold nearly all norms."""
SMOOTH = 0.95
"""Of the gradients' running means."""
GAIN, LIMIT = 0.25, 1.0
"""How far the controller moves c in one interval at most, and how far in all: lambda is 1/e to e mean prices. With more
it reaches the schedule without help from the shift, but the regulariser then outweighs the loss (docs/sparsity.md)."""


def softplus(theta: Vector) -> Vector:
    """log(1 + e^theta), without overflow."""
    return np.asarray(np.logaddexp(0.0, theta), np.float64)


def inverse_softplus(value: Vector) -> Vector:
    """theta of a positive softplus."""
    return np.asarray(value + np.log(-np.expm1(-value)), np.float64)


class ThresholdPruning:
    """Prunes a network's groups by one learned threshold a layer; a ``tinyse.train.prune.PruningMethod``.

    Attributes:
        theta: thresholds before softplus, [layers]. spread: unit of each, in normalised norms.
        means: running means of B and A, [2, layers]. control: the c of lambda's controller.
    """

    def __init__(self, network: Any, schedule: Schedule, structure: Structure | str = Structure.WEIGHT,
                 block: tuple[int, int] = DEFAULT_BLOCK, multiple: int = 1) -> None:
        """Prepare; weights are first read at ``schedule.begin``.

        Args:
            network: a Network. schedule: the sparsity wanted over the steps.
            structure: what a group is. block: inputs and outputs of a tile.
            multiple: a layer keeps a multiple of so many units, if it has as many.
        """
        self.schedule = schedule
        self.trainable = list(network.trainable_weights)
        place = {id(v): n for n, v in enumerate(self.trainable)}
        self.variables = {f"{layer.name}/{short_name(v)}": v for layer in network.stack for v in layer.weights}
        self.place = {name: place[id(v)] for name, v in self.variables.items()}
        self.groups = structure_groups(units_of(network.net), Structure(structure), block)
        self.multiple = multiple if structure == Structure.UNIT else 1
        self.sizes = [part.sizes() for part in self.groups]
        self.weight = 1.0 / sum(float(size.sum()) for size in self.sizes)
        self.alone = structure != Structure.UNIT  # every weight is in one group
        self.dense: dict[str, Mask] = {}
        self.scales: dict[str, float] = {}
        self.kept: list[NDArray[np.bool_]] = [np.ones(part.count, bool) for part in self.groups]
        layers = len(self.groups)
        self.spread, self.theta = np.ones(layers), np.zeros(layers)
        self.means = np.zeros((2, layers))
        self.control = 0.0
        self.begun = self.frozen = False
        self._known: tuple[Any, Any, list[Vector]] = (None, None, [])
        self._made: tuple[Any, dict[str, Mask]] = (None, {})
        self._strong: tuple[Any, list[NDArray[np.bool_]]] = (None, [])

    @property
    def last(self) -> int:
        """The step after which masks no longer change."""
        return self.schedule.last

    @property
    def thresholds(self) -> Vector:
        """tau of every layer, in normalised norms."""
        return self.spread * softplus(self.theta)

    @property
    def strength(self) -> float:
        """lambda: mean price of a zero times e^c; 0 before there is one."""
        against, aid = self.means
        prices = np.abs(against) / np.maximum(aid, 1e-30)
        mean = float(against.sum() / max(float(aid.sum()), 1e-30))
        return max(mean, 1e-3 * float(prices.max())) * float(np.exp(self.control)) if aid.any() else 0.0

    def norms(self) -> list[Vector]:
        """n_g of the dense weights, layer by layer."""
        if self._known[0] is not self.dense or self._known[1] is not self.scales:
            found = [part.norms(self.dense, self.scales) for part in self.groups]
            self._known = (self.dense, self.scales, found)
        return self._known[2]

    def _masks(self) -> dict[str, Mask]:
        """Zeros and ones of every array, from what is kept."""
        if self._made[0] is not self.kept:
            self._made = (self.kept, masks(self.groups, self.kept))
        return self._made[1]

    def _measure(self) -> list[Vector]:
        """Norms of the dense weights as they are; thresholds keep their value in the new units."""
        tau = self.thresholds
        self.scales = array_scales(self.dense)
        norms = self.norms()
        self.spread = np.array([max(float(n.std()), 1e-3) for n in norms])
        top = np.array([float(n.max()) for n in norms])  # where all is pruned already, no threshold need run on
        self.theta = inverse_softplus(np.maximum(np.minimum(tau, top) / self.spread, 1e-3))
        return norms

    def _begin(self) -> None:
        """Take the dense weights; thresholds start at the least norm of their layer."""
        self.dense = {name: v.numpy() for name, v in self.variables.items()}
        norms = self._measure()
        self.theta = inverse_softplus(np.maximum([float(n.min()) for n in norms] / self.spread, 1e-3))
        self.begun = True

    def _keep(self, norms: Sequence[Vector], thresholds: Vector) -> list[NDArray[np.bool_]]:
        if self._strong[0] is not norms:
            self._strong = (norms, [part.strongest(n) for part, n in zip(self.groups, norms, strict=True)])
        return [self._rounded(n, (n >= tau) | strong)
                for n, tau, strong in zip(norms, thresholds, self._strong[1], strict=True)]

    def _rounded(self, norms: Vector, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The strongest of a layer's groups, as many as ``kept`` has, to the nearest multiple."""
        if self.multiple == 1:
            return kept
        count = max(1, round(int(kept.sum()) / self.multiple)) * self.multiple
        rounded = np.zeros(kept.size, bool)
        rounded[np.argsort(-norms, kind="stable")[:count]] = True
        return rounded

    def _sparsity(self, kept: list[NDArray[np.bool_]]) -> float:
        """Share of zero weights over all matrices under ``kept``."""
        if self.alone:
            return self.weight * float(sum(size[~keep].sum() for size, keep in zip(self.sizes, kept, strict=True)))
        found = masks(self.groups, kept)
        return sparsity({name: found.get(name, value) for name, value in self.dense.items()})

    def _shift(self, norms: list[Vector], target: float) -> float:
        """The least shift of all thetas that reaches ``target``, to a billionth of a spread."""

        def reached(shift: float) -> bool:
            return self._sparsity(self._keep(norms, self.spread * softplus(self.theta + shift))) >= target

        if target <= 0.0:
            return 0.0
        low, high = -1.0, 1.0
        while reached(low) and low > -1e4:
            low *= 2.0
        while not reached(high) and high < 1e4:
            high *= 2.0
        while high - low > 1e-9:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high

    # -- the backward pass --------------------------------------------------------------------------------

    def gradients(self, step: int, gradients: list[Any]) -> list[Any]:
        """Gradients of the dense weights from those of the masked ones; moves the thresholds.

        Puts the dense weights into the network, for the optimizer to change; ``after_step`` masks them again.
        """
        if step < self.schedule.begin:
            return gradients
        if not self.begun:
            self._begin()
        kind = np.float32 if self.frozen else np.float64
        found: dict[str, Any] = {name: np.asarray(gradients[n], kind) for name, n in self.place.items()}
        mask = self._masks()
        out = {name: g * mask[name] if name in mask else g for name, g in found.items()}
        if not self.frozen:
            norms = self.norms()
            self._move([self._surrogate(k, norms[k], found, out) for k in range(len(self.groups))])
            for name, variable in self.variables.items():
                variable.assign(self.dense[name])
        result = list(gradients)
        for name, n in self.place.items():
            result[n] = tf.constant(out[name], tf.float32)
        return result

    def _surrogate(self, k: int, norms: Vector, found: dict[str, Any], out: dict[str, Any]) -> tuple[float, float]:
        """Add what layer ``k``'s indicator and regulariser pass to the weights; B and A of its tau."""
        part, keep = self.groups[k], self.kept[k]
        tau = self.thresholds[k]
        share = self.sizes[k] * self.weight
        through: Any = 0.0
        for member, (name, _) in enumerate(part.members):
            towards = found[name] * self.dense[name]
            others = self._others(k, member, name)
            through = through + part.gather(member, towards if others is None else towards * others)
        width = WIDTH * self.spread[k]
        bump = np.tanh((norms - tau) * (0.5 / width))
        bump = (1.0 - bump * bump) * (0.25 / width)  # dr/dn
        weighed = share * norms
        to_norm = bump * (through + self.strength * weighed)
        to_norm += self.strength * share * keep
        to_norm /= np.maximum(norms, 1e-9) * self.sizes[k]
        for member, (name, _) in enumerate(part.members):
            passed = part.spread(member, to_norm, 0)
            passed *= self.dense[name]
            passed /= self.scales[name] ** 2
            out[name] = out[name] + passed
        return -float((bump * through).sum()), float((bump * weighed).sum())

    def _others(self, k: int, member: int, name: str) -> Any:
        """The mask of an array by every group but member ``member`` of layer ``k``; None where there is no other."""
        product: Any = None
        for number, (part, keep) in enumerate(zip(self.groups, self.kept, strict=True)):
            for other, (array, _) in enumerate(part.members):
                if array == name and (number, other) != (k, member):
                    kept = part.spread(other, keep, 1)
                    product = kept if product is None else product & kept
        return product

    @property
    def _rate(self) -> float:
        return TRAVERSE / max(1, self.last - self.schedule.begin)

    def _move(self, slopes: list[tuple[float, float]]) -> None:
        """One step of the thresholds: up where lambda is above a layer's price, down where it is below."""
        new = np.array(slopes).T
        self.means = SMOOTH * self.means + (1.0 - SMOOTH) * new if self.means.any() else new
        strength, prices = self.strength, self.means[0] / np.maximum(self.means[1], 1e-30)
        self.theta = self.theta + self._rate * (strength - prices) / (strength + np.abs(prices) + 1e-30)

    # -- the forward pass ---------------------------------------------------------------------------------

    def after_step(self, step: int) -> None:
        """Decide the masks anew until they freeze, and mask the network's weights."""
        if not self.begun:
            return
        if not self.frozen:
            self.dense = {name: v.numpy() for name, v in self.variables.items()}
            final = step >= self.last
            if final or self.schedule.due(step):
                norms = self._measure()
                shift = self._shift(norms, self.schedule.sparsity if final else self.schedule.target(step))
                self.theta = self.theta + shift
                self.control += GAIN * float(np.clip(shift / (self._rate * self.schedule.every), -1.0, 1.0))
                self.control = float(np.clip(self.control, -LIMIT, LIMIT))
            else:
                norms = self.norms()
            self.kept = self._keep(norms, self.thresholds)
            if final:
                self.frozen, self.dense = True, {}
        self.project()

    def project(self) -> None:
        """Mask the network's weights."""
        for name, mask in self._masks().items():
            variable = self.variables[name]
            variable.assign(variable.numpy() * mask)

    # -- what training asks -------------------------------------------------------------------------------

    def sparsity(self) -> dict[str, float]:
        """Share of zeros in each matrix."""
        return {name: float(np.mean(v.numpy() == 0.0)) for name, v in self.variables.items() if is_matrix(name)}

    def state(self) -> dict[str, NDArray[Any]]:
        """Dense weights, what is kept, thresholds and the controller, by name."""
        flags = np.array([self.begun, self.frozen, self.control], np.float64)
        found: dict[str, NDArray[Any]] = {"flags": flags, "theta": self.theta, "spread": self.spread,
                                          "means": self.means}
        found |= {f"kept/{n}": kept for n, kept in enumerate(self.kept)}
        found |= {f"dense/{name}": value for name, value in self.dense.items()}
        return found | {f"scale/{name}": np.array(value) for name, value in self.scales.items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take up what ``state`` gave."""
        self.begun, self.frozen, self.control = (bool(state["flags"][0]), bool(state["flags"][1]),
                                                    float(state["flags"][2]))
        self.theta, self.spread, self.means = state["theta"], state["spread"], state["means"]
        self.kept = [np.asarray(state[f"kept/{n}"], bool) for n in range(len(self.groups))]
        self.dense = {name[6:]: value for name, value in state.items() if name.startswith("dense/")}
        self.scales = {name[6:]: float(value) for name, value in state.items() if name.startswith("scale/")}
