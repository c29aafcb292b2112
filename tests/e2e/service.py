"""Words for end-to-end tests in Python: a cluster that is asked, watched and killed, and a runner that counts.

cluster.py starts and stops it; this adds what tests say to it.
"""
import http.client
import json
import os
import signal
import time

import cluster

GPL = "/usr/share/common-licenses/GPL-3"


class Cluster(cluster.Cluster):
    def __init__(self, ranks=2, device="256MiB", host="32MiB", restart=True, more=()):
        overrides = [f"groups.0.device_kv_size={device}", f"stores.0.host_size={host}", "model.name=smollm2", *more]
        super().__init__(os.environ.get("EBB_BIN_DIR", cluster.ROOT / "build" / "bin"), overrides, ranks, restart)

    def checked_ctl(self, *arguments):
        """ebbctl with its output captured; the caller looks at the exit code."""
        return self.ctl(*arguments, capture_output=True, text=True, timeout=240)

    def request(self, method, path, body=None, port=None, timeout=180):
        """Status and decoded JSON (or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.ports["http"], timeout=timeout)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            text = answer.read()
            try:
                return answer.status, json.loads(text)
            except ValueError:
                return answer.status, text.decode(errors="replace")
        finally:
            connection.close()

    def complete(self, expect=200, timeout=180, **fields):
        status, body = self.request("POST", "/v1/completions", fields, timeout=timeout)
        if status != expect:
            raise AssertionError(f"status {status}, expected {expect}: {str(body)[:600]}")
        return body

    def stream(self, **fields):
        """An open connection to a streaming completion, and its response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=120)
        connection.request("POST", "/v1/completions", json.dumps(dict(fields, stream=True)),
                           {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def admin_json(self, path):
        status, body = self.request("GET", path, port=self.ports["metrics"])
        assert status == 200, (status, body)
        return body

    def status(self):
        return self.admin_json("/admin/v1/status")

    def pid(self, name):
        """Of a process: "worker 0", "store", "coordinator"."""
        status = self.status()
        if name.startswith("worker"):
            rank = int(name.split()[1])
            return next(r["pid"] for r in status["groups"][0]["ranks"] if r["rank"] == rank)
        pattern = {"store": "ebb-kvstore", "coordinator": "ebb-coordinator"}[name]
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                command = open(f"/proc/{entry}/cmdline", "rb").read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if command[0].endswith(pattern) and str(self.config) in command:
                return int(entry)
        raise AssertionError("no process " + name)

    def kill(self, name, number=signal.SIGKILL):
        os.kill(self.pid(name), number)

    def wait_until(self, what, condition, seconds):
        """Polls until `condition` gives something true; says what was waited for otherwise."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {what}")

    def is_ready(self):
        try:
            return self.request("GET", "/ready", timeout=5)[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds=60):
        self.wait_until("ready", self.is_ready, seconds)


def document(characters):
    """The beginning of a real long text."""
    return open(GPL, encoding="utf-8").read()[:characters]


def run_tests(namespace):
    """Runs every test_* function of a module; prints a line each and the plain summary. Returns the exit code."""
    only = os.environ.get("EBB_TEST_ONLY", "")
    passed = failed = 0
    for name, test in list(namespace.items()):
        if not name.startswith("test_") or only not in name:
            continue
        began = time.monotonic()
        try:
            test()
            passed += 1
            print(f"ok    {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # the next test still runs
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
