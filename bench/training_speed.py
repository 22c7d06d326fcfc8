"""Frames trained per second: tinyse, mixing on the fly, against plain tf_keras on pre-mixed arrays.

    make bench        (or: python bench/training_speed.py [--rounds 3])

Every engine sees the same shape (batch x frames x 128 features, 2 x LSTM-256). Rounds are interleaved, so that the
ratio holds where the machine's speed drifts. Plain runs in a process of its own with TensorFlow's default threads,
which is how ``model.fit`` is used; it trains on arrays mixed beforehand, with a mean squared error on masks, so it does
less work a step than tinyse does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 12


def plain(batch: int, frames: int) -> float:
    import numpy as np

    from tinyse.keras import tf_keras

    rng = np.random.default_rng(0)
    x = rng.random((batch * STEPS, frames, 128), np.float32)
    y = rng.random((batch * STEPS, frames, 128), np.float32)
    layers = tf_keras.layers
    model = tf_keras.Sequential([
        tf_keras.Input((frames, 128)), layers.LSTM(256, return_sequences=True),
        layers.LSTM(256, return_sequences=True), layers.Dense(128, activation="relu"),
        layers.Dense(128, activation="sigmoid")])
    model.compile("adam", "mse")
    model.fit(x[: 2 * batch], y[: 2 * batch], batch_size=batch, verbose=0)
    started = time.perf_counter()
    model.fit(x, y, batch_size=batch, verbose=0)
    return batch * frames * STEPS / (time.perf_counter() - started)


def ours(quantized: bool) -> float:
    from tinyse.training.lanes import Lanes, use_lanes

    use_lanes()
    from tinyse.corpus.synthetic import synthetic_corpus
    from tinyse.frontend import FrontEndSpec
    from tinyse.network import EnhancerNetwork, NetworkSpec
    from tinyse.recipe import load_recipe
    from tinyse.training.calibration import learn_ranges
    from tinyse.training.mixer import Mixer

    recipe = load_recipe("quick")
    with tempfile.TemporaryDirectory() as folder:
        mixer = Mixer(synthetic_corpus(Path(folder), 1), recipe.mixing, FrontEndSpec(), 1)
        network = EnhancerNetwork(NetworkSpec(), 0.5, 0.4)
        if quantized:
            network.fold_normalizer()
            network.quantize(learn_ranges(network, mixer, 4, 0))
        from tinyse.keras import tf_keras

        optimizer = tf_keras.optimizers.Adam(1e-4)
        lanes = Lanes(network, mixer, "compressed", recipe.mixing.batch)
        for step in range(STEPS + 2):
            if step == 2:
                started = time.perf_counter()
            _, gradients = lanes.gradient_step(step)
            optimizer.apply_gradients(zip(gradients, network.trainable_weights, strict=True))
        seconds = time.perf_counter() - started
        lanes.close()
    return lanes.batch * mixer.frames * STEPS / seconds


def main() -> None:
    from tinyse.recipe import load_recipe

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=["plain", "float", "quantized"])
    options = parser.parse_args()
    part = load_recipe("quick").mixing
    frames = int(part.seconds * 16000) // 256 - 1
    if options.one:
        speed = plain(part.batch, frames) if options.one == "plain" else ours(options.one == "quantized")
        print(json.dumps(speed))
        return
    speeds: dict[str, list[float]] = {"plain": [], "float": [], "quantized": []}
    for _ in range(options.rounds):
        for name, found in speeds.items():
            done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=True)
            found.append(float(done.stdout.strip().splitlines()[-1]))
    rows = {name: statistics.median(found) for name, found in speeds.items()}
    ratio = statistics.median(a / b for a, b in zip(speeds["float"], speeds["plain"], strict=True))
    cost = statistics.median(a / b for a, b in zip(speeds["float"], speeds["quantized"], strict=True))
    print(f"batch {part.batch}, {frames} frames, 2 cores; medians of {options.rounds} rounds (measured, host)")
    print(f"  plain tf_keras model.fit, pre-mixed  {rows['plain']:10,.0f} frames/s")
    print(f"  tinyse float, mixing on the fly      {rows['float']:10,.0f} frames/s   {ratio:.2f} x plain (bar 1.5)")
    print(f"  tinyse quantization-aware            {rows['quantized']:10,.0f} frames/s   {cost:.2f} x the float step's "
          "cost (bar 2.5)")
    if options.json:
        options.json.write_text(json.dumps({"frames_per_second": rows, "float_over_plain": ratio,
                                            "quantized_cost": cost}, indent=2) + "\n")


if __name__ == "__main__":
    main()
