"""The peers: what each is, where it comes from, what it learnt from, and its adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinyse.bench import deepfilter, dtln, gtcrn, nsnet2, rnnoise, speex, webrtc
from tinyse.bench.packages import Wheel
from tinyse.bench.peer import Size, Suppressor

DNS = ("The DNS Challenge's noise is AudioSet, DEMAND and the CC0 part of Freesound, so it may hold some of blanket's "
       "public clips and of flare-game's; its speech is LibriVox readings")
LATER = f"{DNS}, VCTK, PTDB and six more languages, French and Russian among them"
NOTHING = "Nothing: it has no trained weights"


@dataclass(frozen=True)
class Peer:
    """A peer.

    Attributes:
        name: in tables.
        wheel: the package that holds it.
        open: makes the adapter; ToolError where the package is missing.
        size: counts it.
        trained_on: what its weights were trained on.
        source: address where that is written.
        heard: what of the bench's sound it may have heard.
        licence: of the weights or the library.
    """

    name: str
    wheel: Wheel
    open: Callable[[], Suppressor]
    size: Callable[[], Size]
    trained_on: str
    source: str
    heard: str
    licence: str


PEERS = (
    Peer("Speex", speex.WHEEL, speex.Speex, speex.size, "no training", "https://www.speex.org/", NOTHING,
         "BSD-3-Clause"),
    Peer("WebRTC", webrtc.WHEEL, webrtc.Webrtc, webrtc.size, "no training", "https://webrtc.org/", NOTHING,
         "BSD-3-Clause"),
    Peer("RNNoise", rnnoise.WHEEL, rnnoise.Rnnoise, rnnoise.size,
         "version 0.2: public speech of many languages (OpenSLR and others) and public noise",
         "https://github.com/xiph/rnnoise/blob/main/datasets.txt",
         "Its list names no Debian package; what of its noise is in blanket too is not known", "BSD-3-Clause"),
    Peer("GTCRN", gtcrn.WHEEL, gtcrn.Gtcrn, gtcrn.size, "DNS Challenge 3",
         "https://github.com/Xiaobin-Rong/gtcrn", LATER, "MIT"),
    Peer("DTLN", dtln.WHEEL, dtln.Dtln, dtln.size, "DNS Challenge 1, 500 h of mixtures",
         "https://github.com/breizhn/DTLN", f"{DNS} in English", "MIT"),
    Peer("NSNet2", nsnet2.WHEEL, nsnet2.Nsnet2, nsnet2.size, "DNS Challenge, its baseline",
         "https://github.com/microsoft/DNS-Challenge", f"{DNS}; of which year is not said",
         "CC-BY-4.0 (weights), MIT (code)"),
    Peer("DeepFilterNet 3", deepfilter.WHEEL, deepfilter.DeepFilter, deepfilter.size,
         "DNS Challenge 4, as DeepFilterNet 2", "https://arxiv.org/abs/2205.05474", LATER, "MIT or Apache-2.0"),
)
