"""Sweeps without training: hand-made results, and a worker that writes a point's files in a moment."""

from __future__ import annotations

from pathlib import Path

from tinyse.studies.sweep.columns import sweep_columns
from tinyse.studies.sweep.plan import Kind
from tinyse.studies.sweep.results import PointResult, SweepResult

BASE = """\
name: tiny
network: {lstm: [24, 16], dense: [16]}
mixing: {seconds: 0.5, batch: 4, generated: 0}
train: {float_steps: 6, compress_steps: 60, validate_every: 6, validate_count: 6, warmup: 2}
prune: {method: threshold, every: 2, end: 0.5, sparsity: 0.5}
"""
SWEEP = """\
name: tiny
recipe: base.yaml
devices: []
score: {count: 1, validation: 1, seconds: 1, snrs: [0], metrics: [si_sdr, sdr]}
points:
  - {name: weight-80, set: {prune.structure: weight, prune.sparsity: 0.8}}
offline:
  - {structure: weight, sparsity: [0.8]}
"""

FAKE_WORKER = '''\
"""Does a job without training: the numbers that its name says; FAIL, KILL, ONCE and HANG in a folder do so."""
import hashlib, json, os, signal, sys, time
from pathlib import Path

job = json.loads(Path(sys.argv[1]).read_text())
folder, report = Path(job["folder"]), os.fdopen(int(sys.argv[2]), "w", buffering=1)
here = Path(__file__).parent
with open(here / "ran.txt", "a") as ran:
    ran.write(f"{job['name']} {job['seed']} {job['kind']}\\n")
print(json.dumps({"task": "train", "done": 1, "total": 2}), file=report)
if (here / f"FAIL-{job['name']}").exists():
    print(json.dumps({"error": "the loss is nan (lower the rate)"}), file=report)
    sys.exit(1)
if (here / f"KILL-{job['name']}").exists():
    os.kill(os.getpid(), signal.SIGKILL)
if (here / f"ONCE-{job['name']}").exists():
    (here / f"ONCE-{job['name']}").unlink()
    os.kill(os.getpid(), signal.SIGKILL)
if (here / f"HANG-{job['name']}").exists():
    (here / f"HANG-{job['name']}").unlink()
    (here / f"HUNG-{job['name']}").write_text(str(os.getpid()))
    while not (here / "go").exists():
        time.sleep(0.05)
if (here / f"STOP-{job['name']}").exists():
    try:
        os.kill(int((here / "parent.txt").read_text()), signal.SIGINT)
        time.sleep(60)
    except KeyboardInterrupt:
        (here / "stopped.txt").write_text(job["name"])
        sys.exit(130)
(folder / "export").mkdir(parents=True, exist_ok=True)
(folder / "export" / "model_int8.tflite").write_bytes(job["name"].encode())
if job["kind"] == "dense":
    (folder / "float.npz").write_bytes(b"dense")
kept = 1000 * (1 - job["sparsity"])
skip = {"update_rate": 0.25, "val_update_rate": 0.5} if job["name"].startswith("skip") else {}
values = {"sdr": 5 + job["seed"] / 10 - job["sparsity"], "val_sdr": 6 - job["sparsity"], "weights": 1000.0,
          "surviving": kept, "bitmask": kept + 125, "encoded": kept + 50, "macs": kept, "cycles": 2000 + kept, **skip}
if job["floating"]:
    values |= {"float_sdr": 5.5, "float_val_sdr": 6.5, "float_bytes": 4000, "noisy_sdr": 0.5}
digest = hashlib.sha256(job["name"].encode()).hexdigest()
(folder / "point.json").write_text(json.dumps({
    "key": job["key"], "values": values, "notes": ["no emulator"], "sha256": {"export/model_int8.tflite": digest}}))
'''


def write_sweep(folder: Path, sweep: str = SWEEP) -> Path:
    """base.yaml, sweep.yaml and the fake worker in ``folder``; the sweep file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(BASE, encoding="utf-8")
    (folder / "worker.py").write_text(FAKE_WORKER, encoding="utf-8")
    (folder / "sweep.yaml").write_text(sweep, encoding="utf-8")
    return folder / "sweep.yaml"


def point(name: str, sdr: float, encoded: float, cycles: float, seed: int = 1, kind: Kind = Kind.TRAINED,
          val_sdr: float | None = None, **values: float) -> PointResult:
    """A finished point; the dense float model has 6 dB on both splits."""
    validated = sdr if val_sdr is None else val_sdr
    found = {"sdr": sdr, "val_sdr": validated, "delta": sdr - 6, "val_delta": validated - 6, "encoded": encoded,
             "bitmask": encoded + 100, "surviving": encoded - 100, "cycles": cycles, "macs": cycles / 2, **values}
    skips = "update_rate" in found
    found |= {f"mean_{key}": found["update_rate"] * found[key] for key in ("cycles", "macs") if skips}
    return PointResult(name, seed, kind, name.split("-")[0], name.split("-")[0], 0.5, f"points/{name}.s{seed}", found,
                       (), {})


def hand_made(*points: PointResult, target: str = "ethos-u55-128", skips: bool = False) -> SweepResult:
    """A sweep of these points and a dense one of 5.9 dB, 800 kB, 850,000 cycles."""
    dense = point("dense", 5.9, 800_000, 850_000, 0, Kind.DENSE)
    scoring = {"count": 20, "validation": 10, "seed": 1, "seconds": 5.0, "snrs": [0.0], "metrics": ["sdr"]}
    columns = sweep_columns(target, ("cortex-m55",), ("sdr",), skips)
    return SweepResult("hand", target, {"corpus": "c" * 64, "scoring": scoring}, columns,
                       {"sdr": 6.0, "val_sdr": 6.0, "noisy_sdr": 0.0, "bytes": 3_875_840}, (dense, *points), {}, {})
