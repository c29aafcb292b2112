#!/usr/bin/env python3
"""One Markdown table and one JSON of what gpu_check.sh has found so far: reads FOLDER/done/*, bench.jsonl, peers.jsonl.

    write_table.py --out FOLDER [--commit HASH]
"""
import argparse
import json
import pathlib
import platform
import sys
import time

PARTS = ["build", "parity", "sanitizer", "bench", "peers"]


def json_lines(path):
    """Objects of the lines that are whole; a run that was cut off leaves half a line."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            print(f"write_table: {path}: not JSON, left out: {line[:80]}", file=sys.stderr)
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def state_of(folder, part):
    done, failed = folder / "done" / part, folder / f"{part}.failed"
    if done.exists():
        return done.read_text(encoding="utf-8").strip()
    if failed.exists():
        return "FAILED: " + failed.read_text(encoding="utf-8").strip()
    return "not done"


def collect(folder, commit):
    bench = json_lines(folder / "bench.jsonl")
    peers = json_lines(folder / "peers.jsonl")
    machine = next((row for row in bench + peers if row.get("name") == "machine"), {})
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit,
        "host": platform.machine(),
        "machine": {key: value for key, value in machine.items() if key != "name"},
        "parts": {part: state_of(folder, part) for part in PARTS},
        "bench": [row for row in bench if row.get("name") != "machine"],
        "peers": [row for row in peers if row.get("name") != "machine"],
    }


def number(row, key, digits):
    return f"{row[key]:.{digits}f}" if isinstance(row.get(key), (int, float)) else ""


def percent(row):
    share = row.get("share_of_copy")
    return f"{100 * share:.0f} %" if isinstance(share, (int, float)) else ""


def table(found):
    machine = found["machine"]
    lines = [
        f"# GPU check: {machine.get('device', 'no device yet')}",
        "",
        f"{found['date']}, commit {found['commit']}; driver CUDA {machine.get('driver', '?')}, built with CUDA "
        f"{machine.get('runtime', '?')} for {machine.get('architectures', '?')}.",
        "",
        "| part | result |",
        "|---|---|",
        *(f"| {part} | {state} |" for part, state in found["parts"].items()),
        "",
        "| what | shape | us | GB/s | share of copy | TFLOP/s | by |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for who in ("bench", "peers"):
        for row in found[who]:
            by = row.get("by", "ebb" if who == "bench" else "peer")
            lines.append(f"| {row.get('name', '?')} | {row.get('shape', '')} | {number(row, 'us', 1)} | "
                         f"{number(row, 'gb_per_s', 0)} | {percent(row)} | {number(row, 'tflop_per_s', 1)} | {by} |")
    lines += ["", "Bytes are what the kernel must read (and write, for copy and digest scan); a share is of the copy "
              "bandwidth of the same run, read and written bytes both counted."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--commit", default="unknown")
    options = parser.parse_args()
    found = collect(options.out, options.commit)
    (options.out / "gpu_check.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.out / "gpu_check.md").write_text(table(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
