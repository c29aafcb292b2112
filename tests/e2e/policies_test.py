#!/usr/bin/env python3
"""Attention policies through the whole service: every one answers and says what ran, mixed batches give each request
the tokens that it gets alone, streams run past the context, defaults and limits of the configuration hold.
"""
import concurrent.futures
import sys
import tempfile

from cluster import ROOT
from service import Cluster, document, run_tests

TEXT = document(2200)
POLICIES = [
    {"policy": "dense"},
    {"policy": "tidal", "budget": 150, "window": 64},
    {"policy": "tidal", "variant": "faithful", "budget": 96},
    {"policy": "anchored", "budget": 120, "window": 40},
    {"policy": "tidal", "variant": "faithful", "scope": "kv_head", "budget": 64, "correct_every": 4},
    {"policy": "streaming", "window": 100},
    {"policy": "recycled", "budget": 128, "stride": 4},
    {"policy": "composed", "budget": 128, "window": 32, "stride": 4},
]
_shared = []


def cluster():
    if not _shared:
        _shared.append(Cluster(ranks=2).__enter__())
    return _shared[0]


def answer_of(ebb, **more):
    return cluster().complete(prompt=TEXT, max_tokens=8, temperature=0, ebb=ebb, **more)


def refused(ebb, *says, at=None):
    status, answer = (at or cluster()).request("POST", "/v1/completions", {"prompt": TEXT, "max_tokens": 4, "ebb": ebb})
    assert status == 400, (ebb, status, answer)
    for word in says:
        assert word in answer["error"]["message"], (ebb, answer["error"])


def test_a_mixed_batch_gives_each_request_the_tokens_that_it_gets_alone():
    alone = [answer_of(ebb)["choices"][0]["text"] for ebb in POLICIES]
    with concurrent.futures.ThreadPoolExecutor(len(POLICIES)) as pool:
        together = list(pool.map(answer_of, POLICIES))
    for ebb, text, answer in zip(POLICIES, alone, together):
        assert answer["choices"][0]["text"] == text, ebb
        ran = answer["usage"]["ebb"]
        assert ran["policy"] == ebb["policy"], ran
        assert ran["budget"] in (0, ebb.get("budget"), 104), ran


def test_sets_of_heads_come_from_every_rank():
    trace = answer_of({"policy": "tidal", "variant": "faithful", "budget": 32, "trace": "selection"})
    steps = trace["choices"][0]["ebb"]["trace"]
    for step in steps[1:]:
        assert sorted({s["anchor"] for s in step}) == [2, 12], step
        assert sorted(s["head"] for s in step if s["anchor"] == 2) == list(range(9)), step
        assert all(s["scope"] == "query_head" and len(s["positions"]) == 32 for s in step), step


def test_adore_retains_its_budget_and_rebuilds_released_tokens():
    ebb = {"policy": "adore", "budget": 96, "rebuild": 2, "trace": "selection"}
    alone = answer_of(ebb)
    ran = alone["usage"]["ebb"]
    assert (ran["policy"], ran["budget"]) == ("adore", 96), ran
    steps = [step for step in alone["choices"][0]["ebb"]["trace"] if step]
    assert len(steps) == 7, "the first token is the prompt's"
    assert all(len(step) == 1 and len(step[0]["positions"]) == 96 for step in steps), steps
    assert ran["rebuilt_tokens"] == 2 * 7 and ran["released_records"] > 0, ran
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        texts = [answer["choices"][0]["text"] for answer in pool.map(answer_of, [ebb, {"policy": "dense"}, ebb])]
    assert texts[0] == texts[2] == alone["choices"][0]["text"], texts
    everything = answer_of({"policy": "adore", "budget": 4000})
    assert everything["choices"][0]["text"] == texts[1], "a budget that covers all is dense"
    most = alone["usage"]["prompt_tokens"] - 30
    restored = answer_of({"policy": "adore", "budget": most, "rebuild": 64, "rebuild_mode": "restore"})
    assert restored["usage"]["ebb"]["rebuilt_tokens"] == sum(range(30, 37)), restored["usage"]
    assert restored["choices"][0]["text"] == texts[1], "all that was released comes back as it was"


def test_adore_needs_a_controller_of_its_own_model():
    with Cluster(ranks=1, more=["model.controller="]) as bare:
        refused({"policy": "adore"}, "model.controller", at=bare)
    shipped = (ROOT / "configs/controllers/smollm2-135m-instruct.adore.safetensors").read_bytes()
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as other:
        other.write(shipped.replace(b"Smollm2 135M", b"Another 135M", 1))
        other.flush()
        start = Cluster(ranks=1)
        started = start.checked_ctl("up", "-c", start.config, "--run-dir", start.run_dir, "--no-restart",
                                    "--set", "model.controller=" + other.name)
        start.checked_ctl("down", "--run-dir", start.run_dir)
    said = started.stdout + started.stderr
    assert started.returncode != 0 and "model.controller" in said and "Another 135M" in said, said


def test_anchored_chooses_in_every_layer_from_the_third_on():
    sizes = {}
    for dealt in ("even", "profile"):
        answer = answer_of({"policy": "anchored", "budget": 96, "window": 32, "layer_budgets": dealt,
                            "trace": "selection"})
        for step in answer["choices"][0]["ebb"]["trace"][1:]:
            assert [s["anchor"] for s in step] == list(range(2, 30)), step
            sizes[dealt] = [len(s["positions"]) for s in step]
    assert sizes["even"] == [96] * 28, sizes
    assert min(sizes["profile"]) < 70 and max(sizes["profile"]) > 140, sizes
    assert abs(sum(sizes["profile"]) / 28 - 96) < 1, sizes
    united = answer_of({"policy": "tidal", "variant": "lessismore", "budget": 120, "trace": "selection"})
    assert [s["anchor"] for s in united["choices"][0]["ebb"]["trace"][1]][:2] == [0, 2], united["usage"]


def test_bad_numbers_name_their_field():
    refused({"policy": "magic"}, "ebb.policy", "recycled")
    refused({"policy": "tidal", "budget": 0}, "ebb.budget")
    refused({"policy": "tidal", "budget": 100, "window": 200}, "ebb.budget", "sinks + window")
    refused({"policy": "tidal", "select_layers": [2, 40]}, "select_layers", "30")
    refused({"policy": "composed", "stride": 65, "window": 64}, "stride", "window, 64")
    refused({"policy": "recycled", "window": 9}, "window", "recycled")
    refused({"policy": "streaming", "window": 9000}, "window", "8192")
    refused({"policy": "dense", "budget": 9}, "budget", "dense")
    refused({"policy": "adore", "rebuild": 65}, "ebb.rebuild", "64")
    refused({"policy": "adore", "rebuild_mode": "never"}, "ebb.rebuild_mode", "recompute, restore, auto")
    refused({"policy": "adore", "budget": 8, "sinks": 8}, "budget: 8 must be at least 9")
    refused({"policy": "tidal", "rebuild": 4}, "rebuild", "tidal")
    refused({"policy": "anchored", "digest": "h4"}, "ebb.digest", "none, int4, h3, h2")
    refused({"policy": "anchored", "digest": "none", "predict": True}, "predict: needs a digest")
    refused({"policy": "anchored", "hysteresis": [1]}, "ebb.hysteresis", "[e, m]")
    refused({"policy": "anchored", "layer_budgets": [1]}, "layer_budgets: 1 weights for 30 layers")
    refused({"policy": "anchored", "layer_budgets": "all"}, "ebb.layer_budgets", "one for each")
    refused({"policy": "tidal", "digest": "h3"}, "digest", "tidal")


def test_a_stream_runs_past_the_context_and_nothing_else_does():
    with Cluster(ranks=1, device="24MiB", more=["model.max_model_len=400"]) as short:
        ids = short.request("POST", "/tokenize", {"prompt": document(6000)})[1]["tokens"][:900]
        answer = short.complete(prompt=ids, max_tokens=300, ignore_eos=True, temperature=0,
                                ebb={"policy": "streaming", "window": 120})
        assert answer["usage"]["completion_tokens"] == 300, answer["usage"]
        status, body = short.request("POST", "/v1/completions", {"prompt": ids, "ebb": {"policy": "recycled"}})
        assert status == 400 and "context" in body["error"]["message"], body


def test_defaults_and_limits_of_the_configuration_hold():
    settings = ["policy.name=composed", 'policy.parameters={"budget": 200, "window": 40, "stride": 5}',
                "policy.allowed=composed, dense", "policy.budget_max=256"]
    with Cluster(ranks=1, more=settings) as limited:
        ran = limited.complete(prompt=TEXT, max_tokens=4)["usage"]["ebb"]
        assert (ran["policy"], ran["budget"]) == ("composed", 200), ran
        ran = limited.complete(prompt=TEXT, max_tokens=4, ebb={"budget": 180})["usage"]["ebb"]
        assert (ran["policy"], ran["budget"]) == ("composed", 180), ran
        refused({"budget": 257}, "budget", "policy.budget_max", at=limited)
        refused({"policy": "recycled"}, "recycled is not allowed", at=limited)


if __name__ == "__main__":
    code = run_tests(globals())
    if _shared:
        _shared[0].__exit__(None, None, None)
    sys.exit(code)
