#!/usr/bin/env python3
"""Structured output and sampling of the real model, over HTTP: whatever the seed and the temperature, what comes
back has the form that was asked for, streamed or whole, alone or in company."""
import json
import re
import sys
import threading

import service

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "colours": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 4},
        "address": {"anyOf": [{"type": "null"}, {
            "type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["zip"], "additionalProperties": False}]},
    },
    "required": ["name", "age", "colours", "address"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {"node": {"type": "object",
                       "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 9},
                                      "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}},
                       "required": ["v"], "additionalProperties": False}},
    "$ref": "#/$defs/node",
}


def json_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def is_person(value):
    address = value["address"]
    return (list(value) == ["name", "age", "colours", "address"] and 1 <= len(value["name"]) <= 24
            and isinstance(value["age"], int) and 0 <= value["age"] <= 130 and 1 <= len(value["colours"]) <= 4
            and set(value["colours"]) <= {"red", "green", "blue"}
            and (address is None or (list(address) == ["zip"] and re.fullmatch("[0-9]{5}", address["zip"]))))


def is_tree(value):
    return (isinstance(value["v"], int) and 0 <= value["v"] <= 9 and set(value) <= {"v", "kids"}
            and len(value.get("kids", [])) <= 2 and all(is_tree(kid) for kid in value.get("kids", [])))


def chat(text, **fields):
    fields = {"max_tokens": 400, **fields}
    status, body = CLUSTER.request("POST", "/v1/chat/completions",
                                   {"messages": [{"role": "user", "content": text}], **fields})
    assert status == 200, (status, body)
    return body


def text_of(body):
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop", choice
    return choice["message"]["content"]


def streamed(text, **fields):
    """The text of a streamed chat, and its last finish reason."""
    connection = service.http.client.HTTPConnection("127.0.0.1", CLUSTER.ports["http"], timeout=120)
    body = {"messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": 400, **fields}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    parts, reason = [], None
    for line in connection.getresponse().read().decode().splitlines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line[6:])
        assert "error" not in chunk, chunk
        choice = chunk["choices"][0]
        parts.append(choice["delta"].get("content") or "")
        reason = choice["finish_reason"] or reason
    connection.close()
    return "".join(parts), reason


def test_a_schema_holds_for_every_seed_and_temperature():
    for seed in range(4):
        temperature = [0, 0.7, 1, 1.5][seed % 4]
        answer = chat("Describe a person as JSON.", response_format=json_schema(PERSON), seed=seed,
                      temperature=temperature)
        assert is_person(json.loads(text_of(answer))), text_of(answer)


def test_a_recursive_schema_holds():
    for seed in range(2):
        body = chat("A small tree as JSON, please.", response_format=json_schema(TREE), seed=seed, max_tokens=150)
        choice = body["choices"][0]
        if choice["finish_reason"] == "stop":
            assert is_tree(json.loads(choice["message"]["content"])), choice


def test_a_stream_says_the_same_as_a_whole_answer():
    fields = {"response_format": json_schema(PERSON), "seed": 5, "temperature": 1}
    text, reason = streamed("Describe a person as JSON.", **fields)
    assert reason == "stop" and is_person(json.loads(text)), (reason, text)
    assert text == text_of(chat("Describe a person as JSON.", **fields))


def test_json_object_is_an_object():
    complete = 0
    for seed in range(4):
        body = chat('Answer with a JSON object like {"city": "Paris"}. Capital of Italy?',
                    response_format={"type": "json_object"}, seed=seed, temperature=0.5, max_tokens=200)
        choice = body["choices"][0]
        assert choice["message"]["content"].startswith("{"), choice
        if choice["finish_reason"] == "stop":
            complete += 1
            assert isinstance(json.loads(choice["message"]["content"]), dict)
    assert complete > 0, "no object was ever closed"


def test_a_choice_is_one_of_them():
    choices = ["yes", "no", "that depends"]
    answer = chat("Is water wet?", structured_outputs={"choice": choices}, n=4, temperature=2, seed=1)
    for choice in answer["choices"]:
        assert choice["message"]["content"] in choices and choice["finish_reason"] == "stop", choice


def test_a_regular_expression_matches():
    pattern = r"\+[0-9]{2} \([0-9]{3}\) [0-9]{3}(-[0-9]{2}){2}"
    for seed in range(4):
        answer = chat("A telephone number?", structured_outputs={"regex": pattern}, seed=seed, temperature=1.2)
        assert re.fullmatch(pattern, text_of(answer)), text_of(answer)


def test_an_answer_cut_by_max_tokens_says_length():
    body = chat("Describe a person.", response_format=json_schema(PERSON), max_tokens=5)
    assert body["choices"][0]["finish_reason"] == "length", body


def test_what_cannot_be_met_is_refused_before_anything_runs():
    for fields, param in [({"structured_outputs": {"regex": "(a"}}, "structured_outputs.regex"),
                          ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
                          ({"response_format": json_schema({"type": "object", "minProperties": 1})},
                           "response_format.json_schema.schema")]:
        body = CLUSTER.complete(expect=400, prompt="x", **fields)
        assert body["error"]["param"] == param, body


def test_company_changes_no_token():
    """Requests with seeds, filters, penalties and constraints: alone, then all at once."""
    requests = [
        {"prompt": "Once upon a time", "seed": 1, "temperature": 1, "top_p": 0.9, "repetition_penalty": 1.2},
        {"prompt": "The best colour is", "seed": 2, "temperature": 1.3, "top_k": 30, "presence_penalty": 0.5},
        {"prompt": "A person: ", "seed": 3, "structured_outputs": {"json": PERSON}},
        {"prompt": "def main():", "seed": 4, "min_p": 0.05, "typical_p": 0.95, "logit_bias": {"198": 3}},
        {"prompt": "1 2 3", "temperature": 0, "frequency_penalty": 1, "min_tokens": 30},
    ]
    alone = [CLUSTER.complete(max_tokens=40, **fields)["choices"][0]["text"] for fields in requests]
    together = [None] * len(requests)

    def run(i):
        together[i] = CLUSTER.complete(max_tokens=40, **requests[i])["choices"][0]["text"]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone, (together, alone)


def test_the_seed_that_was_drawn_repeats_the_answer():
    first = CLUSTER.complete(prompt="Once upon a time", max_tokens=24, temperature=1.2)
    again = CLUSTER.complete(prompt="Once upon a time", max_tokens=24, temperature=1.2,
                             seed=first["usage"]["ebb"]["seed"])
    assert first["choices"][0]["text"] == again["choices"][0]["text"]


def test_prompt_logprobs_agree_with_echo():
    echo = CLUSTER.complete(prompt="The capital of France is", max_tokens=0, echo=True, logprobs=0)
    scores = CLUSTER.complete(prompt="The capital of France is", max_tokens=1, prompt_logprobs=3)
    given = echo["choices"][0]["logprobs"]["token_logprobs"]
    shown = scores["choices"][0]["prompt_logprobs"]
    assert len(shown) == len(given) and shown[0] is None
    for entry, logprob in zip(shown[1:], given[1:]):
        own = next(iter(entry.values()))
        assert abs(own["logprob"] - logprob) < 1e-4 and len(entry) in (3, 4), entry
        assert own["rank"] == 1 or own["logprob"] <= max(v["logprob"] for v in entry.values())


def test_a_bias_forbids_and_min_tokens_goes_on():
    plain = CLUSTER.complete(prompt="Question: 2+2?\nAnswer: 4\n", max_tokens=12, temperature=0, return_token_ids=True)
    first = plain["choices"][0]["token_ids"][0]
    other = CLUSTER.complete(prompt="Question: 2+2?\nAnswer: 4\n", max_tokens=12, temperature=0, return_token_ids=True,
                             logit_bias={str(first): -100})
    assert first not in other["choices"][0]["token_ids"], other
    short = chat("Say hi.", temperature=0, max_tokens=100)
    longer = chat("Say hi.", temperature=0, max_tokens=100, min_tokens=60)
    assert longer["usage"]["completion_tokens"] >= 60 > short["usage"]["completion_tokens"], (short, longer)


if __name__ == "__main__":
    CLUSTER = service.Cluster(ranks=2)
    with CLUSTER:
        code = service.run_tests(globals())
    sys.exit(code)
