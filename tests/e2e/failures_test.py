#!/usr/bin/env python3
"""What users see when processes die, drain or are given too little: errors that say so, nothing that hangs."""
import os
import signal
import sys
import threading
import time

from service import Cluster, document, run_tests

TIDAL = {"policy": "tidal", "budget": 400}
HANG_SECONDS = 10  # nothing may hang longer than this after a death


class Background(threading.Thread):
    """One request on its own thread; how it ended, and when."""

    def __init__(self, cluster, **fields):
        super().__init__(daemon=True)
        self.cluster, self.fields = cluster, fields
        self.status, self.body, self.ended = None, None, None
        self.start()

    def run(self):
        try:
            self.status, self.body = self.cluster.request("POST", "/v1/completions", self.fields)
        except Exception as error:
            self.body = repr(error)
        self.ended = time.monotonic()


def decoding(cluster):
    return [s for s in cluster.admin_json("/admin/v1/sequences")["sequences"] if s["state"] == "decode"]


def test_a_killed_store_ends_what_needs_it_and_dense_goes_on():
    # The arena holds two short dense sequences, but not the long one: its follower bands are released.
    with Cluster(device="40MiB", restart=False) as cluster:
        long = Background(cluster, prompt=document(9500), max_tokens=400, temperature=0, ebb=TIDAL,
                          ignore_eos=True)
        cluster.wait_until("the long request decodes", lambda: decoding(cluster), 120)
        beside = Background(cluster, prompt="Once upon a time", max_tokens=60, temperature=0, ignore_eos=True,
                            ebb={"policy": "dense"})
        cluster.wait_until("both decode, in one batch", lambda: len(decoding(cluster)) == 2, 60)
        cluster.kill("store")
        killed = time.monotonic()
        dense = cluster.complete(prompt="The capital of France is", max_tokens=4, temperature=0,
                                 ebb={"policy": "dense"})
        assert "Paris" in dense["choices"][0]["text"], dense
        beside.join(60)
        assert beside.status == 200, beside.body
        assert beside.body["usage"]["completion_tokens"] == 60, beside.body
        long.join(60)
        assert long.ended, "the long request hangs"
        assert long.status != 200, long.body
        message = long.body["error"]["message"]
        assert "restore" in message or "store" in message, message
        waited = long.ended - killed
        assert waited < 30, waited
        assert cluster.is_ready() or cluster.status()["not_ready_because"], "health says why"


def test_a_restarted_store_is_used_again():
    with Cluster(device="40MiB") as cluster:
        cluster.kill("store")
        cluster.wait_ready()
        cluster.wait_until("the store is connected", lambda: cluster.status()["stores"][0]["connected"], 30)
        deadline = time.monotonic() + 60
        while True:
            status, body = cluster.request("POST", "/v1/completions", {
                "prompt": document(9500), "max_tokens": 8, "temperature": 0, "ebb": TIDAL, "ignore_eos": True})
            if status == 200:
                break
            assert time.monotonic() < deadline, body
        assert body["usage"]["ebb"]["released_records"] > 0, body["usage"]


def test_a_killed_worker_ends_its_requests_and_a_restarted_one_joins_under_a_new_epoch():
    with Cluster() as cluster:
        before = cluster.status()["groups"][0]["epoch"]
        request = Background(cluster, prompt="Once upon a time", max_tokens=800, temperature=0, ignore_eos=True)
        cluster.wait_until("the request decodes", lambda: decoding(cluster), 60)
        cluster.kill("worker 1")
        killed = time.monotonic()
        request.join(60)
        assert request.ended and request.ended - killed < HANG_SECONDS, "hangs"
        assert request.status in (500, 502, 503), (request.status, request.body)
        assert "lost" in request.body["error"]["message"], request.body
        cluster.wait_ready(60)
        after = cluster.status()["groups"][0]["epoch"]
        assert after > before, (before, after)
        answer = cluster.complete(prompt="The capital of France is", max_tokens=4, temperature=0)
        assert "Paris" in answer["choices"][0]["text"], answer


def test_a_stopped_worker_is_noticed():
    with Cluster(restart=False) as cluster:
        request = Background(cluster, prompt="Once upon a time", max_tokens=800, temperature=0, ignore_eos=True)
        cluster.wait_until("the request decodes", lambda: decoding(cluster), 60)
        pid = cluster.pid("worker 1")
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            request.join(60)
            assert request.ended and request.ended - stopped < 2 * HANG_SECONDS, "hangs"
            assert request.status != 200, request.body
        finally:
            os.kill(pid, signal.SIGCONT)


def test_sigterm_finishes_running_requests_and_refuses_new_ones():
    with Cluster(restart=False) as cluster:
        request = Background(cluster, prompt="Once upon a time", max_tokens=150, temperature=0, ignore_eos=True)
        cluster.wait_until("the request decodes", lambda: decoding(cluster), 60)
        pid = cluster.pid("coordinator")
        os.kill(pid, signal.SIGTERM)
        cluster.wait_until("/ready answers 503", lambda: cluster.request("GET", "/ready")[0] == 503, 10)
        status, body = cluster.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1})
        assert status == 503, (status, body)
        request.join(60)
        assert request.status == 200, (request.status, request.body)
        assert request.body["usage"]["completion_tokens"] == 150
        cluster.wait_until("the coordinator ends", lambda: not os.path.exists(f"/proc/{pid}") or
                           open(f"/proc/{pid}/stat", encoding="utf-8").read().split()[2] == "Z", 30)


def test_a_client_that_goes_away_frees_its_sequence():
    with Cluster() as cluster:
        connection, response = cluster.stream(prompt="Once upon a time", max_tokens=3000, temperature=0,
                                              ignore_eos=True)
        assert response.status == 200
        response.read(200)
        response.close()
        connection.close()
        cluster.wait_until("nothing runs", lambda: cluster.status()["running"] == 0, 15)
        assert cluster.status()["groups"][0]["arena_used_bytes"] == 0


def test_memory_stays_inside_its_bounds():
    device = 40
    with Cluster(device=f"{device}MiB", host="8MiB") as cluster:
        idle = anonymous_mib(cluster)
        answer = cluster.complete(prompt=document(9500), max_tokens=24, temperature=0, ebb=TIDAL, ignore_eos=True)
        usage = answer["usage"]["ebb"]
        assert usage["released_records"] > 0 and usage["restored_records"] > 0, usage
        group = cluster.status()["groups"][0]
        assert 0 < group["arena_max_bytes"] <= group["arena_bytes"] <= device << 20, group
        assert usage["device_bytes_max"] <= group["arena_bytes"], usage
        # Everything beyond the arena is bounded too: activations of a chunk, logits, what is on its way to the store.
        for rank, grown in enumerate(b - a for a, b in zip(idle, anonymous_mib(cluster))):
            assert grown <= device * (2, 1)[rank] / 3 + 64, f"rank {rank} grew by {grown:.0f} MiB"
        for tier in cluster.status()["stores"][0]["tiers"]:
            assert tier["used_bytes"] <= tier["capacity_bytes"], tier


def anonymous_mib(cluster):
    sizes = []
    for rank in (0, 1):
        with open(f"/proc/{cluster.pid(f'worker {rank}')}/status", encoding="utf-8") as lines:
            sizes.append(next(int(l.split()[1]) for l in lines if l.startswith("RssAnon:")) / 1024)
    return sizes


def test_one_rank_works_by_changing_one_number():
    with Cluster(ranks=1) as cluster:
        answer = cluster.complete(prompt="The capital of France is", max_tokens=4, temperature=0)
        assert "Paris" in answer["choices"][0]["text"], answer


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
