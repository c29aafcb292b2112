#!/usr/bin/env python3
"""A cluster of our own for one end-to-end test: free ports, its own run directory, gone afterwards.

    tests/e2e/cluster.py --bin build/bin [--set KEY=VALUE ...] -- COMMAND ...

runs COMMAND with EBB_TEST_URL (the HTTP API) and EBB_TEST_ADMIN (the admin address), and ends with its status.
In Python: `with Cluster(bin_dir, overrides) as cluster: ...`. What the processes logged is printed when anything
failed. Needs only Python's standard library.
"""

import argparse
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
UP_TIMEOUT_S = 180
LOG_LINES = 40

CONFIG = """\
version: 1
model:
  profile: {root}/configs/profiles/smollm2-135m-instruct.yaml
  controller: {root}/configs/controllers/smollm2-135m-instruct.adore.safetensors
coordinator:
  http_address: 127.0.0.1:{http}
  control_address: 127.0.0.1:{control}
  metrics_address: 127.0.0.1:{metrics}
groups:
  - name: g0
    tensor_parallel_size: {ranks}
    device_kv_size: 144MiB
worker:
  metrics_port_base: {workers}
stores:
  - name: s0
    data_address: 127.0.0.1:{store_data}
    control_address: 127.0.0.1:{store_control}
    metrics_address: 127.0.0.1:{store_metrics}
    host_size: 32MiB
    ssd_size: 1GiB
    ssd_reserve: 256MiB
"""


def free_port_run(count):
    """The first of `count` neighbouring ports that nobody listens on: below those that the system gives away itself, to
    connections and to servers that ask for any port, so that none is taken before it is used."""
    for _ in range(100):
        base = random.randrange(12000, 32000)
        held = []
        try:
            for port in range(base, base + count):
                held.append(socket.create_server(("127.0.0.1", port)))
            return base
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise RuntimeError(f"no {count} neighbouring free ports")


class Cluster:
    """Up on entry, down on exit, whatever happened in between."""

    def __init__(self, bin_dir, overrides=(), ranks=2, restart=True):
        self.bin_dir = pathlib.Path(bin_dir).resolve()
        self.overrides = list(overrides)
        self.restart = restart
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ebb-e2e-"))
        names = ["http", "control", "metrics", "store_data", "store_control", "store_metrics"]
        first = free_port_run(len(names) + ranks)
        self.ports = {name: first + i for i, name in enumerate(names)}
        self.config = self.folder / "cluster.yaml"
        self.config.write_text(CONFIG.format(root=ROOT, ranks=ranks, workers=first + len(names), **self.ports))
        self.run_dir = self.folder / "run"
        self.url = f"http://127.0.0.1:{self.ports['http']}"
        self.admin = f"http://127.0.0.1:{self.ports['metrics']}"

    def ctl(self, *arguments, **options):
        return subprocess.run([self.bin_dir / "ebbctl", *arguments], check=False, **options)

    def __enter__(self):
        command = ["up", "-c", self.config, "--run-dir", self.run_dir]
        for override in self.overrides:
            command += ["--set", override]
        if not self.restart:
            command.append("--no-restart")
        started = self.ctl(*command, timeout=UP_TIMEOUT_S)
        if started.returncode != 0:
            self.__exit__(RuntimeError, None, None)
            raise RuntimeError(f"ebbctl up ended with status {started.returncode}")
        return self

    def __exit__(self, kind, error, trace):
        stopped = self.ctl("down", "--run-dir", self.run_dir, timeout=UP_TIMEOUT_S)
        if kind is not None:
            self.print_logs()
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None and stopped.returncode != 0:
            raise RuntimeError(f"ebbctl down ended with status {stopped.returncode}")

    def print_logs(self):
        for log in sorted(self.run_dir.glob("logs/*")):
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            print(f"--- {log.name}, last {len(lines)} lines", *lines, sep="\n", file=sys.stderr)


class CommandFailed(Exception):
    """The command under the cluster ended with a status other than 0."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "build" / "bin", help="folder of the binaries")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as ebbctl's --set")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    try:
        with Cluster(options.bin, options.set) as cluster:
            environment = dict(os.environ, EBB_TEST_URL=cluster.url, EBB_TEST_ADMIN=cluster.admin)
            status = subprocess.run(options.command, env=environment, check=False).returncode
            if status != 0:
                raise CommandFailed(f"{options.command[0]} ended with status {status}")
    except (CommandFailed, RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
