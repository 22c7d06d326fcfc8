"""Studies on Ray: two nodes, one of which is killed; calls, sweeps and scores come out as on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import ray_calls
from click.testing import CliRunner
from sweep_files import SWEEP, write_sweep

from tinyse.cli import main
from tinyse.core.cluster import Cluster
from tinyse.core.errors import TinyseError
from tinyse.sound.corpus.synthetic import synthetic_corpus
from tinyse.studies.sweep import nodes
from tinyse.studies.sweep.pipeline import plan_sweep, run_sweep
from tinyse.studies.sweep.pool import Task
from tinyse.studies.sweep.spec import load_sweep

ROOT = Path(__file__).parents[1]


def needs_ray() -> None:
    pytest.importorskip("ray", reason="pip install 'tinyse[cluster]'")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory):
    """A head and a second node of one core each on this machine, and RAY_ADDRESS naming them."""
    needs_ray()
    from ray.cluster_utils import Cluster as Nodes

    small = {"num_cpus": 1, "memory": 4 << 30, "object_store_memory": 80 << 20}
    before = {name: os.environ.get(name) for name in ("RAY_ADDRESS", "PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])  # what nodes import
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Nodes(initialize_head=True, head_node_args=small | {"ray_client_server_port": 24791})
    cluster.second = cluster.add_node(**small)
    cluster.again = lambda: cluster.add_node(**small)
    os.environ["RAY_ADDRESS"] = cluster.address
    yield cluster
    cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    synthetic_corpus(folder, seed=3)
    return folder


def until(reached, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come that far"
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -- what is said -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("on", ["", "rays", "ray://", "ray://host:port", "ray://a b", "http://host"])
def test_only_ray_is_a_place(on: str) -> None:
    with pytest.raises(TinyseError, match="no such place"):
        Cluster(on)
    assert Cluster("ray").on == "ray" and Cluster("ray://host").on == "ray://host:10001"
    assert Cluster("ray://host:7").on == "ray://host:7"


def test_without_ray_one_line_says_what_to_install(tmp_path: Path, corpus: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ["sweep", str(write_sweep(tmp_path)), "--corpus", str(corpus), "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(main, [*arguments, "--on", "ray"])
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == "Error: --on ray: Ray is not installed (pip install 'tinyse[cluster]')"
    dry = CliRunner().invoke(main, [*arguments, "--on", "ray://head", "--dry-run"])
    assert dry.output.startswith(
        "3 points, 2 at once (at most; ray://head:10001 places them, a core and 3 GiB a point)")


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:9"])
def test_where_nobody_listens_one_line_says_so_at_once(monkeypatch: pytest.MonkeyPatch, on: str) -> None:
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    words = r"^--on ray\S*: (RAY_ADDRESS 127.0.0.1:9: )?\[Errno 111\] .*refused"
    with pytest.raises(TinyseError, match=words) as error, Cluster(on):
        pass
    assert "ray start" in error.value.line() and "\n" not in error.value.line()


def test_a_node_that_would_give_another_result_is_refused(tmp_path: Path) -> None:
    def sent(**changes):
        return nodes.Sent(**{"task": Task("a", ("false",), tmp_path / "log"), "here": tmp_path, "python": "python",
                             "versions": nodes.versions(), "emulator": nodes.can_emulate()} | changes)

    for change, words in (({"here": tmp_path / "no"}, f"has no {tmp_path}/no"),
                          ({"task": Task("a", ("false",), tmp_path / "no" / "log")}, f"has no {tmp_path}/no"),
                          ({"versions": nodes.versions() | {"tinyse": "9"}}, r"tinyse 0\S+, here 9"),
                          ({"emulator": not nodes.can_emulate()}, "emulator is")):
        with pytest.raises(TinyseError, match=words):
            nodes.run_there(sent(**change), print)


# -- calls ------------------------------------------------------------------------------------------------

def test_results_come_as_they_finish_and_errors_with_their_item(two) -> None:
    seen = []
    with Cluster("ray") as cluster:
        assert cluster.cores == 2
        found = dict(cluster.as_finished(ray_calls.inverse, [2, 0, 4, -1], memory=1 << 50, progress=seen.append))
    assert (found[2], found[4]) == (0.5, 0.25)
    assert isinstance(found[0], ZeroDivisionError)
    assert isinstance(found[-1], TinyseError) and found[-1].line() == "-1: below zero (above it)"
    assert ("inverse", 1, 1) in {(step.task, step.done, step.total) for step in seen}


def test_a_worker_that_dies_runs_its_call_again_and_one_that_always_dies_is_an_error(two, tmp_path: Path) -> None:
    with Cluster("ray") as cluster:
        found = dict(cluster.as_finished(ray_calls.dies_once, [str(tmp_path / "a"), str(tmp_path / "b")]))
        assert set(found.values()) == {"lived"}
        ((_, error),) = cluster.as_finished(ray_calls.dies, ["x"])
    assert isinstance(error, TinyseError) and error.line().startswith("its worker or node died: ")


def test_workers_are_initialised_once_each_and_again_after_a_crash(two, tmp_path: Path) -> None:
    with (Cluster("ray") as cluster,
          cluster.workers(2, ray_calls.start, (tmp_path, 3), {"TINYSE_TOLD": "early"}) as pool):
        assert list(pool.in_order(ray_calls.times, range(20))) == [("early", 3 * n) for n in range(20)]
        assert len(list(tmp_path.iterdir())) == 2
        assert list(pool.in_order(ray_calls.times, [-1, 5])) == [("early", -3), ("early", 15)]
        assert len(list(tmp_path.iterdir())) == 4  # the mark of the crash, and a third process
        with pytest.raises(TinyseError, match="too large"):
            list(pool.in_order(ray_calls.times, [1000]))


def test_a_client_from_outside_is_served_too(two) -> None:
    program = ("import ray_calls; from tinyse.core.cluster import Cluster\n"
               "with Cluster('ray://127.0.0.1:24791') as cluster:\n"
               "    found = sorted(cluster.as_finished(ray_calls.inverse, [2, 4]))\n"
               "    with cluster.workers(1, print, (), {}) as pool: more = list(pool.in_order(abs, [-1, -2]))\n"
               "print(found)\nprint(more)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[(2, 0.5), (4, 0.25)]", "[1, 2]"], done.stderr


def test_what_a_node_cannot_load_is_one_line(two, monkeypatch) -> None:
    only_here = types.ModuleType("only_here")
    exec("def call(item, progress): return item", only_here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    with Cluster("ray") as cluster:
        ((_, error),) = cluster.as_finished(only_here.call, [1])
    assert isinstance(error, TinyseError)
    assert error.line() == ("on its node: ModuleNotFoundError: No module named 'only_here' "
                            "(the same packages on every node)")


# -- scores -----------------------------------------------------------------------------------------------

def test_scores_of_the_bench_are_the_same_bytes(two, tmp_path) -> None:
    from test_bench_quality import METRICS, pairs

    from tinyse.bench.contenders import NOISY_INPUT
    from tinyse.bench.scores import Mixtures, score_contender

    mixtures = Mixtures.of(pairs())
    here = score_contender(NOISY_INPUT, mixtures, METRICS, tmp_path / "here", 1)
    with Cluster("ray") as cluster:
        there = score_contender(NOISY_INPUT, mixtures, METRICS, tmp_path / "there", 2, cluster=cluster)
    assert here == there
    one, other = ((tmp_path / name / next((tmp_path / name).iterdir()).name).read_bytes() for name in ("here", "there"))
    assert one == other


# -- sweeps -----------------------------------------------------------------------------------------------

def swept(folder: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, on: str | None, progress=lambda step: None):
    """A sweep in ``folder``, its worker one that does not train."""
    file = write_sweep(folder)
    monkeypatch.chdir(folder)
    plan = plan_sweep(load_sweep(file), "out", corpus, None if on else 2, on)
    return run_sweep(plan, progress, (sys.executable, str(folder / "worker.py")))


def shown(folder: Path) -> dict[str, bytes]:
    """Everything that a sweep shows."""
    files = [*(folder / "out").glob("sweep.*"), *(folder / "out" / "plots").iterdir()]
    return {file.name: file.read_bytes() for file in files}


def test_a_sweep_on_two_nodes_is_the_one_on_this_machine_byte_for_byte(two, tmp_path, corpus, monkeypatch) -> None:
    here = swept(tmp_path / "here", corpus, monkeypatch, None)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "ONCE-weight-80").touch()
    seen = []
    there = swept(tmp_path / "there", corpus, monkeypatch, "ray", seen.append)
    assert here == there and there.failed == {} and len(there.points) == 3
    assert shown(tmp_path / "here") == shown(tmp_path / "there") and len(shown(tmp_path / "here")) > 5
    ran = sorted((tmp_path / "there" / "ran.txt").read_text().splitlines())
    assert ran == ["dense 1 dense", "offline-weight-0.8 0 offline", "weight-80 1 trained", "weight-80 1 trained"]
    assert {step.task for step in seen} >= {"sweep", "dense", "weight-80.s1"}


def test_a_point_that_fails_or_is_always_killed_is_a_line_as_here(two, tmp_path, corpus, monkeypatch) -> None:
    for name in ("FAIL-weight-80", "KILL-offline-weight-0.8"):
        (tmp_path / name).touch()
    assert swept(tmp_path, corpus, monkeypatch, "ray").failed == {
        "weight-80.s1": "the loss is nan (lower the rate)",
        "offline-weight-0.8": "was killed (out of memory? use --workers 1)"}


def test_a_node_that_dies_costs_what_ran_on_it_and_no_more(two, tmp_path, corpus, monkeypatch) -> None:
    here = swept(tmp_path / "here", corpus, monkeypatch, None)
    folder = tmp_path / "there"
    folder.mkdir()
    for name in ("HANG-weight-80", "HANG-offline-weight-0.8"):
        (folder / name).touch()

    def kill() -> None:
        try:
            until(lambda: [file.read_text() for file in folder.glob("HUNG-*")].count("") == 0 and len(
                list(folder.glob("HUNG-*"))) == 2)
            two.remove_node(two.second, allow_graceful=False)
            until(lambda: not all(alive(int(file.read_text())) for file in folder.glob("HUNG-*")))
        finally:
            (folder / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        there = swept(folder, corpus, monkeypatch, "ray")
    finally:
        killer.join()
        two.second = two.again()
    assert here == there and shown(tmp_path / "here") == shown(folder)
    ran = (folder / "ran.txt").read_text().splitlines()
    assert len(ran) == 4 and len(set(ran)) == 3 and ran.count("dense 1 dense") == 1


@pytest.mark.parametrize("on", ["ray", "ray://127.0.0.1:24791"])
def test_ctrl_c_stops_what_runs_on_the_nodes(two, tmp_path, corpus, monkeypatch, on: str) -> None:
    (tmp_path / "STOP-weight-80").touch()
    (tmp_path / "parent.txt").write_text(str(os.getpid()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            swept(tmp_path, corpus, monkeypatch, on)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "stopped.txt").read_text() == "weight-80"
    (tmp_path / "STOP-weight-80").unlink()
    assert len(swept(tmp_path, corpus, monkeypatch, on).points) == 3


@pytest.mark.slow
def test_a_node_killed_in_training_costs_the_running_epoch(two, tmp_path, corpus, monkeypatch) -> None:
    """Two seeds train on two nodes; one node and all on it get SIGKILL; the sweep's bytes are those of here."""
    from tinyse.train.checkpoint import load_checkpoint

    sweep = SWEEP.split("offline:")[0].replace("points:", "seeds: [1, 2]\npoints:")
    results, seen = [], []

    def step(seed: int) -> int:
        files = tmp_path.glob(f"there/out/points/weight-80.s{seed}-*/checkpoints/last.npz")
        return max((load_checkpoint(file)[0]["step"] for file in files), default=-1)

    def kill() -> None:
        until(lambda: step(1) >= 12 and step(2) >= 12, 3600)
        seen.append({f"weight-80.s{seed}": step(seed) for seed in (1, 2)})
        raylet = two.second.all_processes["raylet"][0].process.pid
        for process in (raylet, *below(raylet)):
            os.kill(process, signal.SIGKILL)

    for name, on in (("here", None), ("there", "ray")):
        file = write_sweep(tmp_path / name, sweep)
        monkeypatch.chdir(tmp_path / name)
        plan = plan_sweep(load_sweep(file), "out", corpus, None if on else 1, on)
        killer = threading.Thread(target=kill if on else lambda: None)
        killer.start()
        try:
            results.append(run_sweep(plan, seen.append))
        finally:
            killer.join()
    two.remove_node(two.second, allow_graceful=False)  # the last test: Ray's 30 s may be too short for another node
    assert results[0] == results[1] and shown(tmp_path / "here") == shown(tmp_path / "there")
    mark = next(at for at, each in enumerate(seen) if isinstance(each, dict))
    begun = [each for each in seen[mark + 1:] if "train compress" in each.note]
    assert begun and all(each.done >= 12 for each in begun), "a point began again from its start"


def below(process: int) -> list[int]:
    """The processes under one, parents first."""
    children = [int(each) for task in Path(f"/proc/{process}/task").iterdir()
                for each in (task / "children").read_text().split()]
    return [*children, *(deeper for child in children for deeper in below(child))]
