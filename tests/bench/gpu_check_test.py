#!/usr/bin/env python3
"""The table of bench/gpu_check.sh from canned results: what is whole is in it, what was cut off or not done is said."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = [
    {"name": "machine", "device": "cuda 0 (H200)", "driver": "13.0", "runtime": "13.0", "architectures": "90a"},
    {"name": "copy", "shape": "1024 MiB", "us": 500.25, "gb_per_s": 4200.4, "share_of_copy": 1.0},
    {"name": "dense decode", "shape": "B=1", "us": 30.5, "gb_per_s": 3000.0, "share_of_copy": 0.714},
    {"name": "prefill attention", "shape": "2048 rows", "us": 900.0, "tflop_per_s": 412.34},
]
PEERS = [{"name": "machine", "device": "H200"},
         {"name": "top-k", "shape": "8 rows", "us": 77.7, "gb_per_s": 54.0, "by": "PyTorch 2.9"}]


class TableTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = pathlib.Path(self.folder.name)
        (self.out / "done").mkdir()

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, rows):
        (self.out / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def table(self):
        command = [sys.executable, ROOT / "bench/gpu/write_table.py", "--out", self.out, "--commit", "abc1234"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), (self.out / "gpu_check.md").read_text().strip())
        return done.stdout, json.loads((self.out / "gpu_check.json").read_text()), done.stderr

    def test_everything_that_was_found(self):
        self.write("bench.jsonl", BENCH)
        self.write("peers.jsonl", PEERS)
        (self.out / "done/parity").write_text("120 passed, 0 failed\n")
        markdown, found, _ = self.table()
        self.assertIn("# GPU check: cuda 0 (H200)", markdown)
        self.assertIn("commit abc1234; driver CUDA 13.0", markdown)
        self.assertIn("| parity | 120 passed, 0 failed |", markdown)
        self.assertIn("| dense decode | B=1 | 30.5 | 3000 | 71 % |  | ebb |", markdown)
        self.assertIn("| prefill attention | 2048 rows | 900.0 |  |  | 412.3 | ebb |", markdown)
        self.assertIn("| top-k | 8 rows | 77.7 | 54 |  |  | PyTorch 2.9 |", markdown)
        self.assertEqual(len(found["bench"]), 3)
        self.assertEqual(found["machine"]["device"], "cuda 0 (H200)")

    def test_what_failed_or_was_not_done_is_said(self):
        (self.out / "parity.failed").write_text("118 passed, 2 failed, exit 1\n")
        markdown, found, _ = self.table()
        self.assertIn("| parity | FAILED: 118 passed, 2 failed, exit 1 |", markdown)
        self.assertEqual(found["parts"]["bench"], "not done")

    def test_half_a_line_is_left_out(self):
        (self.out / "bench.jsonl").write_text(json.dumps(BENCH[1]) + '\n{"name": "dense dec')
        _, found, errors = self.table()
        self.assertEqual([row["name"] for row in found["bench"]], ["copy"])
        self.assertIn("left out", errors)


class ScriptTest(unittest.TestCase):
    def run_script(self, *arguments):
        return subprocess.run(["bash", ROOT / "bench/gpu_check.sh", *arguments], capture_output=True, text=True,
                              timeout=60, check=False)

    def test_unknown_words_are_refused(self):
        with tempfile.TemporaryDirectory() as out:
            self.assertEqual(self.run_script("--part", "dance", "--out", out).returncode, 2)
            self.assertEqual(self.run_script("--dance").returncode, 2)

    def test_a_part_that_is_done_is_not_done_again(self):
        with tempfile.TemporaryDirectory() as out:
            done = pathlib.Path(out) / "done"
            done.mkdir()
            for part in ("build", "parity", "sanitizer", "bench", "peers"):
                (done / part).write_text("as it was\n")
            ran = self.run_script("--out", out)
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
            self.assertEqual(ran.stdout.count("as it was (earlier"), 5)
            self.assertTrue((pathlib.Path(out) / "gpu_check.json").exists())

    def test_scripts_parse(self):
        for script in ("bench/gpu_check.sh", "bench/gpu_service.sh", "deploy/bundle.sh"):
            self.assertEqual(subprocess.run(["bash", "-n", ROOT / script], check=False).returncode, 0, script)


if __name__ == "__main__":
    unittest.main()
