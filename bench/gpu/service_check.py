#!/usr/bin/env python3
"""Greedy tokens of the whole service on a GPU against the same service on the CPU backend: the same prompts, teacher
forced through each policy's decode path, and every position compared where the CPU's best token leads by a margin.

    service_check.py --bin FOLDER --model PATH [--profile FILE] [--backend cuda] [--devices 0,0] [--ranks N]

Prints one line a policy and one JSON object at the end; exit code 1 when a token differs. Standard library only.
"""
import argparse
import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

MARGIN = 0.05

CASES = [
    {"name": "dense", "ebb": {"policy": "dense"}},
    {"name": "tidal", "ebb": {"policy": "tidal", "budget": 64, "window": 16}},
    {"name": "tidal, released and restored", "ebb": {"policy": "tidal", "budget": 64, "window": 16}, "release": True},
    {"name": "anchored", "ebb": {"policy": "anchored", "budget": 64, "window": 16}},
    {"name": "streaming", "ebb": {"policy": "streaming", "window": 64}},
    {"name": "recycled", "ebb": {"policy": "recycled", "budget": 64, "stride": 4}},
    {"name": "composed", "ebb": {"policy": "composed", "budget": 64, "window": 16, "stride": 4}},
]

CONFIG = """\
version: 1
model: {{path: "{model}"{profile}}}
coordinator:
  http_address: 127.0.0.1:{p0}
  control_address: 127.0.0.1:{p1}
  metrics_address: 127.0.0.1:{p2}
groups: [{{name: g0, tensor_parallel_size: {ranks}, device_kv_size: {device}}}]
worker:
  backend: {backend}
  devices: "{devices}"
  metrics_port_base: 0
  release: {release}
  hot_tokens: 96
stores:
  - name: s0
    data_address: 127.0.0.1:{p3}
    control_address: 127.0.0.1:{p4}
    metrics_address: 127.0.0.1:{p5}
    host_size: 64MiB
    ssd_size: 0
"""


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Service:
    """A cluster of the bundle's programs; up on entry, down on exit."""

    def __init__(self, options, backend, release):
        self.bin = pathlib.Path(options.bin).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ebb-service-"))
        self.config = self.folder / "cluster.yaml"
        ports = free_ports(6)
        profile = f', profile: "{options.profile}"' if options.profile else ""
        devices = options.devices if backend != "cpu" else ""
        self.config.write_text(CONFIG.format(
            model=options.model, profile=profile, ranks=options.ranks, device=options.device_kv_size, backend=backend,
            devices=devices, release="always" if release else "pressure", **{f"p{i}": p for i, p in enumerate(ports)}))
        self.port = ports[0]
        self.admin = ports[2]

    def ctl(self, *arguments):
        return subprocess.run([self.bin / "ebbctl", *arguments], capture_output=True, text=True, timeout=300,
                              check=False)

    def __enter__(self):
        up = self.ctl("up", "-c", self.config, "--run-dir", self.folder / "run", "--no-restart")
        if up.returncode != 0:
            logs = "".join(log.read_text(errors="replace")[-2000:] for log in self.folder.glob("run/logs/*"))
            self.__exit__(None, None, None)
            raise RuntimeError(f"ebbctl up: {up.stdout}{up.stderr}\n{logs}")
        return self

    def __exit__(self, kind, *_):
        self.ctl("down", "--run-dir", self.folder / "run")
        if kind is not None:  # what the processes said before it went wrong
            for log in sorted(self.folder.glob("run/logs/*")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=600)
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:400]}")
        return json.loads(text)

    def backends(self):
        status = self.ask("GET", "/admin/v1/status", port=self.admin)
        return [rank.get("backend", "") for group in status["groups"] for rank in group["ranks"]]


def forced(service, case, prompt, decode_from):
    """By position from decode_from on: the best two (token text, log-probability); and the usage."""
    answer = service.ask("POST", "/v1/completions", {
        "prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 2,
        "ebb": dict(case["ebb"], decode_from=decode_from)})
    tops = answer["choices"][0]["logprobs"]["top_logprobs"]
    best = [sorted(top.items(), key=lambda item: -item[1])[:2] for top in tops[decode_from:] if top]
    return best, answer["usage"]["ebb"]


def compare(cpu, other):
    """Positions whose CPU margin decides; those that differ; the largest difference of the best log-probability."""
    decided, differing, worst = 0, [], 0.0
    for position, (a, b) in enumerate(zip(cpu, other)):
        if a[0][0] in dict(b):
            worst = max(worst, abs(a[0][1] - dict(b)[a[0][0]]))
        if len(a) < 2 or a[0][1] - a[1][1] <= MARGIN:
            continue
        decided += 1
        if a[0][0] != b[0][0]:
            differing.append(position)
    return decided, differing, worst


def prompt_of(options):
    text = pathlib.Path(__file__).read_text(encoding="utf-8")[:options.prompt + options.steps]
    return list(text.encode()) if not options.text_prompt else text


def run(options, backend, cases, prompts, decode_from):
    """Answers by case name, for the cases that want rows released and those that do not."""
    answers, seen = {}, []
    for release in (False, True):
        wanted = [case for case in cases if case.get("release", False) == release]
        if not wanted:
            continue
        with Service(options, backend, release) as service:
            seen = service.backends()
            for case in wanted:
                answers[case["name"]] = forced(service, case, prompts, decode_from)
    return answers, seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--profile", default="")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--devices", default="")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--device-kv-size", default="64MiB")
    parser.add_argument("--prompt", type=int, default=600, help="tokens (bytes) of the prompt that are prefilled")
    parser.add_argument("--steps", type=int, default=24, help="steps that are compared")
    parser.add_argument("--decode-from", type=int, default=0, help="instead of --prompt, where a token is no byte")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--text-prompt", action="store_true", help="prompts as text: models with a real tokenizer")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case["name"]]
    prompt, began = prompt_of(options), time.monotonic()
    cpu, _ = run(options, "cpu", cases, prompt, options.decode_from or options.prompt)
    other, backends = run(options, options.backend, cases, prompt, options.decode_from or options.prompt)
    print(f"backends: {backends}")
    report, failed = [], 0
    for case in cases:
        name = case["name"]
        decided, differing, worst = compare(cpu[name][0], other[name][0])
        restored = other[name][1].get("restored_records", 0)
        bad = bool(differing) or decided == 0 or bool(case.get("release") and not restored)
        failed += bad
        print(f"{'FAIL' if bad else 'ok  '}  {name}: {decided} of {len(cpu[name][0])} positions decided, "
              f"{len(differing)} differ, log-probability within {worst:.2g}, {restored} records restored")
        report.append({"case": name, "decided": decided, "differ": len(differing), "worst": worst,
                       "restored": restored})
    print(json.dumps({"backends": backends, "seconds": round(time.monotonic() - began, 1), "cases": report}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
