#!/usr/bin/env python3
"""The whole service on the CUDA backend, emulated: a small random model gives the CPU backend's greedy tokens through
every process; and whatever can be wrong with a device is one sentence, never a hang and never another device.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

from cluster import ROOT
from service import Cluster, run_tests

PLUGIN = os.environ.get("EBB_EMULATED_PLUGIN", str(ROOT / "build/tests/plugins/libebb_cuda_emulated_plugin.so"))
BIN = pathlib.Path(os.environ.get("EBB_BIN_DIR", ROOT / "build/bin"))
_folder = tempfile.TemporaryDirectory()
MODEL = pathlib.Path(_folder.name) / "random"
PROMPT = list(range(40, 90))


class Environment:
    """Variables of the processes that a cluster starts."""

    def __init__(self, **variables):
        self.variables = {"EBB_CUDA_PLUGIN": PLUGIN, **variables}

    def __enter__(self):
        self.before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)

    def __exit__(self, *_):
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def random_cluster(backend, ranks=1, restart=False, more=()):
    return Cluster(ranks=ranks, device="4MiB", restart=restart, more=[
        f"model.path={MODEL}", f"model.profile={MODEL}/profile.yaml", "model.controller=", "model.name=random",
        f"worker.backend={backend}", *more])


def start_fails(says, **variables):
    """`ebbctl up` with worker.backend cuda ends, soon, with a sentence that has these words."""
    with Environment(**variables):
        cluster = random_cluster("cuda")
        up = cluster.checked_ctl("up", "-c", cluster.config, "--run-dir", cluster.run_dir, "--no-restart",
                                 *[word for one in cluster.overrides for word in ("--set", one)])
        said = up.stdout + up.stderr + "".join(
            log.read_text(errors="replace") for log in cluster.run_dir.glob("logs/*"))
        cluster.checked_ctl("down", "--run-dir", cluster.run_dir)
    assert up.returncode != 0, said
    for word in says:
        assert word in said, (word, said[-3000:])


def test_the_cpus_greedy_tokens():
    check = subprocess.run(
        [sys.executable, ROOT / "bench/gpu/service_check.py", "--bin", BIN, "--model", MODEL, "--profile",
         MODEL / "profile.yaml", "--prompt", "160", "--steps", "4", "--only", "tidal"],
        env=dict(os.environ, EBB_CUDA_PLUGIN=PLUGIN), capture_output=True, text=True, timeout=600, check=False)
    assert check.returncode == 0, check.stdout + check.stderr
    assert "cuda 0 (emulated)" in check.stdout, check.stdout


def test_two_ranks_share_a_device():
    with Environment():
        with random_cluster("cuda", ranks=2, more=["worker.devices=0,0"]) as cluster:
            on_cuda = cluster.complete(prompt=PROMPT, max_tokens=3, temperature=0)["choices"][0]["text"]
            backends = [rank["backend"] for rank in cluster.status()["groups"][0]["ranks"]]
            assert all(name.startswith("cuda 0") for name in backends), backends
    with random_cluster("cpu", ranks=2) as cluster:
        assert cluster.complete(prompt=PROMPT, max_tokens=3, temperature=0)["choices"][0]["text"] == on_cuda


def test_auto_falls_back_at_start_and_says_so():
    with Environment(EBB_EMULATION_MACHINE="driver=0"):
        with random_cluster("auto") as cluster:
            backend = cluster.status()["groups"][0]["ranks"][0]["backend"]
            assert backend.startswith("cpu") and "no NVIDIA driver" in backend, backend
            assert cluster.complete(prompt=PROMPT, max_tokens=2)["usage"]["completion_tokens"] == 2
            log = (cluster.run_dir / "logs").glob("worker*")
            assert any("the CPU computes" in one.read_text() for one in log)


def test_no_driver_an_old_one_and_a_wrong_architecture():
    start_fails(["worker.backend is cuda", "no NVIDIA driver"], EBB_EMULATION_MACHINE="driver=0")
    start_fails(["driver is too old", "12.2", "13.0"], EBB_EMULATION_MACHINE="driver=12020")
    start_fails(["no code for compute capability 7.0"], EBB_EMULATION_MACHINE="capability=70",
                EBB_EMULATION_FAIL="launch:0:209")
    start_fails(["no such file", "/no/plugin.so"], EBB_CUDA_PLUGIN="/no/plugin.so")


def test_memory_that_is_full_names_what_was_asked_and_what_is_free():
    start_fails(["bytes asked", "are free"], EBB_EMULATION_MACHINE="memory=4600000")


def test_a_device_that_is_lost_ends_the_worker_and_the_group_says_so():
    # Past the start and the first prompt, in the middle of decoding.
    with Environment(EBB_EMULATION_FAIL="lost:2000:719"):
        with random_cluster("cuda") as cluster:
            answers = []
            for _ in range(40):
                status, body = cluster.request("POST", "/v1/completions", {
                    "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "ignore_eos": True})
                if status != 200:
                    break
                answers.append(body["choices"][0]["text"])
            assert status >= 500, "the device was never lost"
            assert len(set(answers)) <= 1, f"a wrong token before the end: {answers}"
            assert "device is lost" in str(body), body
            cluster.wait_until("the worker has left",
                               lambda: not cluster.status()["groups"][0]["ranks"][0]["joined"], 30)
            state = cluster.status()["groups"][0]["state"]
            assert "lost" in state, state


def test_doctor_says_what_was_found():
    with Environment():
        with random_cluster("cuda") as cluster:
            said = cluster.checked_ctl("doctor", "-c", cluster.config, "--set", "worker.backend=cuda").stdout
    assert "devices (worker.backend cuda)" in said and "emulated, compute capability 9.0" in said, said


if __name__ == "__main__":
    subprocess.run([sys.executable, ROOT / "bench/gpu/random_model.py", MODEL], check=True, stdout=subprocess.DEVNULL)
    sys.exit(run_tests(globals()))
