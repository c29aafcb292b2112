#!/usr/bin/env python3
"""Bad input to real processes: a clear message that names the field and the limit, and the service goes on."""
import json
import os
import socket
import subprocess
import sys

from service import Cluster, document, run_tests

_shared = None


def cluster():
    """One cluster for all tests here: that it survives all of them is the point."""
    global _shared
    if _shared is None:
        _shared = Cluster()
        _shared.__enter__()
    return _shared


def refused(body, status=400, path="/v1/completions"):
    got, answer = cluster().request("POST", path, body)
    assert got == status, (got, answer)
    error = answer["error"]
    assert set(error) >= {"message", "type", "param", "code"}, error
    return error


def test_malformed_json():
    error = refused(b'{"prompt": "x", "max_tokens": ')
    assert "JSON" in error["message"], error


def test_unknown_model():
    error = refused({"model": "gpt-9", "prompt": "x"}, status=404)
    assert "gpt-9" in error["message"] and "smollm2" in error["message"], error


def test_prompt_longer_than_the_context():
    error = refused({"prompt": document(35000) + document(8000), "max_tokens": 10})
    assert "8192" in error["message"], error


def test_negative_max_tokens():
    error = refused({"prompt": "x", "max_tokens": -3})
    assert error["param"] == "max_tokens" and "-3" in error["message"], error


def test_wrong_types_and_ranges_name_the_field():
    for field, value in [("temperature", 3), ("top_p", 0), ("max_tokens", "ten"), ("stop", 7), ("logprobs", 99),
                         ("n", 0), ("prompt", {}), ("prompt", [1, -5]), ("seed", 1.5)]:
        error = refused({"prompt": "x", field: value})
        assert error["param"] == field or error["param"].startswith(field), (field, error)


def test_policy_numbers():
    error = refused({"prompt": document(3000), "ebb": {"policy": "tidal", "budget": 20}})
    assert "budget" in error["message"], error
    error = refused({"prompt": "x", "ebb": {"policy": "tide"}})
    assert "tidal" in error["message"], error
    error = refused({"prompt": "x", "ebb": {"polisy": "tidal"}})
    assert "policy" in error["message"], error


def test_a_request_that_can_never_fit_says_what_it_would_need():
    with Cluster(device="16MiB") as small:
        status, answer = small.request("POST", "/v1/completions", {
            "prompt": document(9000), "max_tokens": 10, "ebb": {"policy": "dense"}})
        assert status == 400, (status, answer)
        message = answer["error"]["message"]
        assert "MiB" in message and "device_kv_size" in message, message


def test_unknown_path_and_method():
    assert cluster().request("GET", "/v1/nothing")[0] == 404
    assert cluster().request("GET", "/v1/completions")[0] == 405


def test_a_batch_goes_on_past_bad_lines():
    folder = cluster().folder
    lines = ["this is not JSON",
             json.dumps({"custom_id": "good", "method": "POST", "url": "/v1/completions",
                         "body": {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}}),
             json.dumps({"custom_id": "bad", "method": "POST", "url": "/v1/completions",
                         "body": {"prompt": "x", "max_tokens": -1}}),
             json.dumps({"method": "POST", "url": "/v1/completions", "body": {}})]
    source, target = os.path.join(folder, "in.jsonl"), os.path.join(folder, "out.jsonl")
    with open(source, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    done = cluster().checked_ctl("batch", "run", "-c", cluster().config, "-i", source, "-o", target)
    assert done.returncode == 3, (done.returncode, done.stderr)
    answers = [json.loads(line) for line in open(target, encoding="utf-8")]
    assert len(answers) == 4, answers
    good = next(a for a in answers if a["custom_id"] == "good")
    assert "Paris" in good["response"]["body"]["choices"][0]["text"], good
    assert sum(1 for a in answers if a["error"]) == 2, answers
    again = cluster().checked_ctl("batch", "run", "-c", cluster().config, "-i", source, "-o", target,
                                  "--resume")
    assert again.returncode == 3, again.stderr
    ids = [json.loads(line)["custom_id"] for line in open(target, encoding="utf-8")]
    assert ids.count("good") == 1, "a line that succeeded is not run again"


def start_and_fail(binary, *arguments):
    command = [os.path.join(cluster().bin_dir, binary), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, -6, -11), (binary, done.returncode, done.stderr)
    return done.stderr


def test_a_truncated_model_file():
    source = os.path.expanduser(os.environ.get("EBB_MODEL") or os.path.join(
        os.environ.get("EBB_CACHE") or "~/.cache/ebb", "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    cut = os.path.join(cluster().folder, "cut.gguf")
    with open(os.path.expanduser(source), "rb") as whole, open(cut, "wb") as out:
        out.write(whole.read(30_000_000))
    for binary in ("ebb-worker", "ebb-coordinator"):
        message = start_and_fail(binary, "-c", cluster().config, "--set", "model.path=" + cut)
        assert "truncated" in message and "tensor" in message, message


def test_an_unknown_config_key_names_the_nearest():
    path = os.path.join(cluster().folder, "typo.yaml")
    with open(path, "w", encoding="utf-8") as out:
        out.write("version: 1\ncoordinator:\n  max_num_seq: 4\n")
    for binary in ("ebb-coordinator", "ebb-worker", "ebb-kvstore"):
        message = start_and_fail(binary, "-c", path)
        assert "max_num_seq" in message and "max_num_seqs" in message, message


def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for used in ("http", "control", "metrics"):
            settings = []
            for address in ("http", "control", "metrics"):
                settings += ["--set", f"coordinator.{address}_address=127.0.0.1:{port if address == used else 0}"]
            message = start_and_fail("ebb-coordinator", "-c", cluster().config, *settings, "--set",
                                     "run_dir=" + os.path.join(cluster().folder, "other"))
            assert "in use" in message and str(port) in message, (used, message)


def test_an_address_for_everybody_is_refused_without_a_word_of_consent():
    message = start_and_fail("ebb-coordinator", "-c", cluster().config, "--set",
                             "coordinator.http_address=0.0.0.0:0", "--set",
                             "coordinator.control_address=127.0.0.1:0", "--set",
                             "coordinator.metrics_address=127.0.0.1:0", "--set",
                             "run_dir=" + os.path.join(cluster().folder, "other"))
    assert "--insecure" in message, message


def test_a_worker_of_another_cluster_is_refused():
    message = start_and_fail("ebb-worker", "-c", cluster().config, "--rank", "1", "--set",
                             "cluster_token=another", "--set", "worker.metrics_port_base=0")
    assert "token" in message, message
    assert "another" not in message, "tokens are not printed"


def test_the_service_still_answers():
    answer = cluster().complete(prompt="The capital of France is", max_tokens=4, temperature=0)
    assert "Paris" in answer["choices"][0]["text"], answer
    status = cluster().status()
    assert status["groups"][0]["epoch"] == 1, "nothing died on the way"


if __name__ == "__main__":
    code = run_tests(globals())
    if _shared:
        _shared.__exit__(None, None, None)
    sys.exit(code)
