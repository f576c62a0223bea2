"""Cells in several processes: how much faster than in one, and what is left where processes are killed.

Run: python benchmarks/jobs.py [--quick]                        40 cells of the lab, one process and the engines in turn
     python benchmarks/jobs.py kills CELLS KILLS [OPTION ...]   kill -9 of workers, drivers or both at random moments

On a machine with other work a rate alone is worth nothing: all are run in turn, twice, and the load is shown.
After the kills the same command ends the work; its results have to be those of a run that nobody disturbed. OPTION is
--jobs 2 unless it names another engine.
"""

import contextlib
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.drills.results import fault, snapshot

RATES = """
name = "rates"
description = "40 cells of the lab"
[[run]]
learner = "icl"
model = "mini-gpt"
task = "lab"
shots = [4, 16]
seeds = [0, 1, 2]
limit = 200
[[run]]
learner = "tune"
method = "ia3"
model = "mini-t0"
task = "lab"
shots = [4]
seeds = [0, 1]
limit = 200
[run.training]
num_steps = 200
[[run]]
learner = "tune"
method = "lora"
model = "mini-gpt"
task = "lab"
shots = [4]
seeds = [0, 1]
limit = 200
[run.training]
num_steps = 200
"""
KILLS = """
name = "kills"
description = "short cells"
[[run]]
learner = "icl"
model = "mini-gpt"
task = "lab"
shots = [1]
seeds = {prompted}
limit = 4
templates = [0]
[[run]]
learner = "tune"
method = "ia3"
model = "mini-gpt"
task = "lab"
shots = [2]
seeds = {tuned}
limit = 4
templates = [0]
[run.training]
num_steps = 2
"""
PER_SEED = 4
"""Cells: tasks of the group `lab`."""
ROUNDS = 2
SECONDS_TO_END = 60
WORKERS = ("multiprocessing.forkserver", "ray::work", "submitit.core._submit")
"""What the command lines of workers have in them; agents of Ray's own outlive a driver that is killed."""


def command(recipe: Path, results: Path, *options: str) -> list[str]:
    place = ["--results", str(results), "--quiet", "--device", "cpu"]
    return [sys.executable, "-m", "peftbench", "run", str(recipe), *place, *options]


def rates(num_rounds: int, num_seeds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recipe, local = Path(folder) / "rates.toml", Path(folder) / "local.toml"
        text = RATES if num_seeds > 1 else RATES.replace("[0, 1, 2]", "[0]").replace("[0, 1]", "[0]")
        recipe.write_text(text)
        local.write_text('cluster = "local"\n')
        engines = {"one process": (), "--jobs 2": ("--jobs", "2")}
        engines |= {"--on ray --jobs 2": ("--on", "ray", "--jobs", "2")} if find_spec("ray") else {}
        on_slurm = ("--on", "slurm", "--slurm", str(local), "--jobs", "2")
        engines |= {"--on slurm, local, --jobs 2": on_slurm} if find_spec("submitit") else {}
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        without_start: dict[str, list[float]] = {name: [] for name in engines}
        loads, cpu = [], dict.fromkeys(engines, 0.0)
        for number in range(num_rounds):
            for name, options in engines.items():
                before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                results = Path(folder) / f"{name.replace(' ', '')}{number}"
                subprocess.run(command(recipe, results, *options), check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - before)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu[name] += after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
                loads.append(os.getloadavg()[0])
                without_start[name].append(between(results))
                times = f"{seconds[name][-1]:.0f} s, {without_start[name][-1]:.0f} s without the start"
                print(f"  round {number + 1}: {name}: {times}, load {loads[-1]:.1f}", flush=True)
        records = [path.name for path in results.glob("records/*.json")]
        print(f"\n{len(records)} cells, {os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f}\n")
        print("| | seconds | times the rate of one | without the start | CPU seconds a round |\n|---|---|---|---|---|")
        for name in engines:
            rate, steady = (times_the_rate(measured, name) for measured in (seconds, without_start))
            line = f"| {name} | {statistics.median(seconds[name]):.0f} | {rate:.2f} | {steady:.2f} "
            print(line + (f"| {cpu[name] / num_rounds:.0f} |" if "--on" not in name else "| |"))


def between(results: Path) -> float:
    """Return the seconds from the first record to the last: what is left where a start costs nothing."""
    moments = [path.stat().st_mtime for path in results.glob("records/*.json")]
    return max(moments) - min(moments)


def times_the_rate(measured: dict[str, list[float]], name: str) -> float:
    return statistics.median(
        alone / value for alone, value in zip(measured["one process"], measured[name], strict=True)
    )


def kills(num_cells: int, num_kills: int, options: list[str], seed: int = 0) -> None:
    rng = random.Random(seed)
    num_seeds = num_cells // PER_SEED
    seeds = list(range(num_seeds * 3 // 4)), list(range(num_seeds - num_seeds * 3 // 4))
    with tempfile.TemporaryDirectory() as folder:
        recipe, whole, torn = (Path(folder) / name for name in ("kills.toml", "whole", "torn"))
        recipe.write_text(KILLS.format(prompted=seeds[0], tuned=seeds[1]))
        subprocess.run(command(recipe, whole), check=True, stdout=subprocess.DEVNULL)
        total, driver = number(whole), None
        print(f"{total} cells undisturbed", flush=True)
        for kill in range(num_kills):
            if driver is None or driver.poll() is not None:
                driver = subprocess.Popen(command(recipe, torn, *options), stdout=subprocess.DEVNULL)
            goal = number(torn) + rng.randint(1, max(1, (total - number(torn)) // (num_kills - kill + 1)))
            while number(torn) < goal and driver.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            victim, workers = rng.choice(["a worker", "the driver", "both"]), descendants(driver.pid)
            if victim != "the driver" and workers:
                end(rng.choice(workers))
            if victim != "a worker":
                end(driver.pid)
                driver.wait()
                if "slurm" not in options:  # its jobs go on
                    gone(workers)
            print(f"  kill {kill + 1}: {victim} at {number(torn)} records; {fault(torn) or 'all whole'}", flush=True)
        if driver is not None:
            driver.wait()
        subprocess.run(command(recipe, torn, *options), check=True, stdout=subprocess.DEVNULL)
        expected, found = snapshot(whole), snapshot(torn)
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        print(f"{number(torn)} records after {num_kills} kills; files that differ: {different[:5] or 'none'}")
        sys.exit(bool(different))


def number(results: Path) -> int:
    return len(list(results.glob("records/*.json")))


def end(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def descendants(process: int) -> list[int]:
    """List the workers below a process."""
    parents: dict[int, list[int]] = {}
    lines = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(entry.name))
    below, todo = [], [process]
    while todo:
        children = parents.get(todo.pop(), [])
        below += children
        todo += children
    return [child for child in below if any(word in lines[child] for word in WORKERS)]


def gone(processes: list[int]) -> None:
    """Wait until processes are gone.

    Raises:
        RuntimeError: Some stay.
    """
    until = time.monotonic() + SECONDS_TO_END
    while left := [process for process in processes if Path(f"/proc/{process}").exists()]:
        if time.monotonic() > until:
            raise RuntimeError(f"stray processes: {left}")
        time.sleep(0.1)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["kills"]:
        kills(int(words[1]), int(words[2]), words[3:] or ["--jobs", "2"])
    elif "--quick" in words:
        rates(1, 1)
    else:
        rates(ROUNDS, 2)
