"""What is settled before a step is trained: that it can be exported, and the dense model to start from.

Nothing here needs TensorFlow but ``take_weights``, so what cannot be is said at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinyse.core.artifacts import sha256
from tinyse.core.errors import RecipeError, TinyseError
from tinyse.export.checks import check_npu
from tinyse.export.coperators import check_c
from tinyse.graph.fold import fold
from tinyse.graph.gates import gate_nodes
from tinyse.graph.model import Model
from tinyse.graph.net import Net
from tinyse.graph.plan import Exit, Route
from tinyse.sound import Ends
from tinyse.sound.corpus.clips import RATE
from tinyse.train.compression import RoutePart
from tinyse.train.dense import dense_file, dense_model
from tinyse.train.recipe import SPECTRAL, Recipe

if TYPE_CHECKING:
    from tinyse.train.network import Network


@dataclass(frozen=True)
class Start:
    """A float model and the hash of its file."""

    model: Model
    sha256: str


def load_start(source: str, net: Net, ends: Ends | None = None) -> Start:
    """Read ``train.start``: a float .npz, an int8 .tflite, or a folder with float.npz or model_int8.tflite.

    Args:
        net: what is trained, a Skip RNN's p~ apart. ends: its own, where the model's must be the same.

    Raises:
        ModelError: there is none, it is damaged, or it is a run's quantized model.
        RecipeError: it is of another network, or of one that is given something else of a frame.
    """
    file = dense_file(source, "train.start")
    model = dense_model(file, "train.start")
    for name, array in net.arrays.items():
        node, found = net[name.split("/")[0]], model.net.arrays.get(name)
        if found is None and (node.layer.kind == "norm" or _of_router(net, name)):
            continue  # folded before it was exported; a router is trained from the beginning
        shape = None if found is None else found.shape
        if shape != array.shape and not _gate_apart(model.net, name, array.shape):
            theirs = "none" if shape is None else list(shape)
            raise RecipeError(f"train.start: {name}: {list(array.shape)}, but {file} has {theirs}",
                              "the family and family_options that it was trained with")
    for part in ("framing", "bands", "feature", "level") if ends is not None else ():
        ours, theirs = getattr(ends, part), getattr(model.ends, part)
        if ours != theirs:
            apart = [name for name in vars(ours) if getattr(ours, name) != getattr(theirs, name)]
            said, wanted = (", ".join(f"{name}: {getattr(each, name)}" for name in apart) for each in (theirs, ours))
            raise RecipeError(f"train.start: {file} was trained with another ends.{part}: {said}",
                              f"a start with {wanted}, or its ends")
    return Start(model, sha256(file))


def _gate_apart(net: Net, name: str, shape: tuple[int, ...]) -> bool:
    """Whether an array of ``net`` has this shape but for a Skip RNN's p~."""
    if net.skip is None or name.split("/")[0] != net.results[-1].node:
        return False
    return net.arrays[name].shape == (*shape[:-1], shape[-1] + 1)


def _of_router(net: Net, name: str) -> bool:
    return net.route is not None and net[name.split("/")[0]].part == 0


def take_weights(network: Network, model: Model) -> None:
    """Assign the model's weights; they take raw features, so the network needs no normalizer.

    A gate that the model lacks starts open, one that the network lacks is left out; norms that it lacks are folded.
    """
    from tinyse.train.network import open_gate

    lacks = {name for name in network.net.arrays if name not in model.net.arrays}
    own = {name: array for name, array in network.arrays().items() if name in lacks and _of_router(network.net, name)}
    if lacks - own.keys():
        network.fold_norms()
    arrays, gated = {**own, **model.arrays}, model.net.skip is not None
    last = network.net.results[-1].node
    if gated != (network.net.skip is not None):
        for name, array in network.net.arrays.items():
            if name.split("/")[0] == last:
                value = arrays[name]
                arrays[name] = np.concatenate([value, np.zeros_like(value[..., :1])], -1)[..., : array.shape[-1]]
    network.take(arrays)
    if network.net.skip is not None and not gated:
        open_gate(network)
    network.shift, network.scale = 0.0, 1.0


def check_ends(ends: Ends, scores: bool = False) -> None:
    """See that today's trainer, its corpus and the C library can do a recipe's ends; ``scores``: that of predictors.

    Raises:
        RecipeError: they cannot; before anything is trained.
    """
    if ends.framing.rate != RATE:
        raise RecipeError(f"ends: framing: rate: {ends.framing.rate}: the corpus has {RATE} Hz", f"rate: {RATE}")
    if ends.result.kind == "score" and not scores:
        raise RecipeError("ends.result: score: losses are known for sound and voice only",
                          "gains, complex_gains, samples or voice")
    if ends.device_reason:
        raise RecipeError(f"ends: framing: {ends.device_reason}", "fft: 512")


def check_losses(recipe: Recipe, net: Net) -> None:
    """See that there is a loss for everything that the recipe trains.

    Raises:
        RecipeError: there is none; before anything is trained.
    """
    if isinstance(net.policy, Route):
        _check_route(recipe, net)
    if net.widths and (recipe.train.order != "joint" or len(recipe.train.exits) > 1
                       or recipe.prune.method != "none" or recipe.cluster.values):
        raise RecipeError(f"family: {recipe.family}: several widths are trained together and whole",
                          "leave train.order, train.exits, prune and cluster out")
    if isinstance(net.policy, Exit):
        raise RecipeError(f"family: {recipe.family}: the scores of exits have no loss", "exits without scores")
    if recipe.train.spectral != SPECTRAL and recipe.train.loss not in ("mixed", "levelled"):
        raise RecipeError(f"train.spectral: {recipe.train.spectral:g}: is of a spectrum beside SI-SDR, "
                          f"and train.loss is {recipe.train.loss}", "mixed or levelled")
    if net.route is None and not net.widths and recipe.route != RoutePart():
        raise RecipeError(f"route: {recipe.family} has no router here",
                          "a family with one, such as nsnet2 with family_options: {exits: [1, 2, 3], router: 16}")
    for key, value in (("share", recipe.gates.share), ("cost", recipe.gates.cost)):
        if value is None or gate_nodes(net):
            continue
        raise RecipeError(f"gates.{key}: {value:g}: {recipe.family} has no channel gates here",
                          "a family with gates, such as fsenet with family_options: {gates: true}")
    kind = recipe.ends.result.kind
    if (kind == "voice") != (recipe.train.loss == "cross_entropy"):
        raise RecipeError(f"train.loss: {recipe.train.loss}: not of a network whose ends.result is {kind}",
                          "cross_entropy" if kind == "voice" else "compressed, si_sdr, mixed or levelled")
    for key, wanted in (("skip.enabled", recipe.skip.enabled), ("train.distill", recipe.train.distill)):
        if wanted and kind != "gains":
            raise RecipeError(f"{key}: {wanted}: known for gains only, and ends.result is {kind}", f"leave {key} out")


def _check_route(recipe: Recipe, net: Net) -> None:
    where, wanted, ends = f"family: {recipe.family}", recipe.route.cost, recipe.ends
    exits, logits = len(net.exits), math.prod(net.shapes[net.choice]) if net.choice else 0
    if logits != exits:
        raise RecipeError(f"{where}: a router of {logits} choices for {exits} exits", "one each")
    held = [node.name for node in net.nodes if node.part and node.layer.kind != "gru"
            and node.layer.state_shapes(*net.shapes_in(node))]
    if held and not net.widths:
        raise RecipeError(f"{where}: {held[0]}: a router is trained with states of GRUs only", "exits, or a budget")
    if ends.result.kind != "gains" and not net.widths:
        raise RecipeError(f"{where}: a router is trained for gains, and ends.result is {ends.result.kind}", "gains")
    if recipe.skip.enabled or recipe.prune.method != "none":
        raise RecipeError(f"{where}: a router with a Skip RNN or pruning is not trained", "leave skip and prune out")
    if recipe.train.start is None and not recipe.train.float_steps and not net.widths:
        raise RecipeError(f"{where}: a router without its network: train.float_steps is 0, and there is no train.start",
                          "train.start: a run without a router, or float steps")
    least = min(net.exit_macs) / net.exit_macs[-1]
    if wanted < least:
        raise RecipeError(f"route.cost: {wanted:g}: router and first exit take {least:.3f} of the last one's MACs",
                          f"{math.ceil(100 * least) / 100:g} or more")


def _remembers(net: Net) -> bool:
    """Whether a result has a node with a state behind it."""
    behind = {result.node for result in net.results}
    for node in reversed(net.nodes):
        if node.name in behind:
            if node.layer.state_shapes(*net.shapes_in(node)):
                return True
            behind |= set(node.ins)
    return False


def check_net(net: Net, ends: Ends) -> None:
    """See that a network streams, and that the C library and the NPU can run it, by small weights on grids of -1 to 1.

    Raises:
        RecipeError: it does not, or they cannot; before anything is trained. The message names operator and tensor.
    """
    arrays = {name: np.full(array.shape, 0.01, np.float32) for name, array in net.arrays.items()}
    try:
        folded = fold(Model(net, arrays, ends, None, {}))
        ranges = {name: (-1.0, 1.0) for name in folded.net.ranges}
        graphs = Model(folded.net, folded.arrays, ends, ranges, {}).plan().graphs
        for graph in graphs:
            check_c(graph)
        check_npu(graphs)
    except TinyseError as error:
        raise RecipeError(f"family: {error}", error.hint) from error
    if not _remembers(net):
        raise RecipeError("family: no result depends on earlier frames: nothing persists between them",
                          "a gru, an lstm, or a kernel of two rows on the way to a result")
