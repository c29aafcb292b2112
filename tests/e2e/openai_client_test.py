#!/usr/bin/env python3
"""The unmodified `openai` client from PyPI against a running cluster: what its users would notice.

EBB_TEST_URL    the server, for example http://127.0.0.1:8000 (required)
EBB_TEST_ONLY   run only the tests whose names contain this text

Prints one line a test and "N passed, N failed"; exits 1 when one failed. openai_client_test.sh makes the
environment that this needs. Answers are compared with each other, never with a fixed text: any model will do.
"""

import asyncio
import json
import os
import sys
import traceback
import urllib.error
import urllib.request

import openai

URL = os.environ.get("EBB_TEST_URL", "").rstrip("/")
TIMEOUT_S = 120
PROMPT = "The three primary colours are red,"
QUESTION = [{"role": "user", "content": "Name one colour. Answer with one word."}]


def client():
    return openai.OpenAI(base_url=URL + "/v1", api_key="unused", max_retries=0, timeout=TIMEOUT_S)


def model():
    return client().models.list().data[0].id


def complete(**fields):
    """A greedy completion of fixed length unless the fields say otherwise."""
    request = {"model": model(), "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    request.update(fields)
    return client().completions.create(**request)


def chat(**fields):
    request = {"model": model(), "messages": QUESTION, "max_tokens": 12, "temperature": 0}
    request.update(fields)
    return client().chat.completions.create(**request)


def raw(method, path, body=None):
    """Status and JSON of one request that the client library would not send."""
    request = urllib.request.Request(URL + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def expect(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


def expect_error(kind, call, param=None, code=None, text=None):
    """The error object that `call` raises, checked."""
    try:
        call()
    except kind as error:
        expect(param is None or error.param == param, "param is", error.param, "not", param)
        expect(code is None or error.code == code, "code is", error.code, "not", code)
        expect(text is None or text in error.message, repr(text), "is not in", error.message)
        return
    raise AssertionError(f"no {kind.__name__} was raised")


# Models and probes.


def test_models_are_listed_and_found():
    models = client().models.list()
    expect(len(models.data) >= 1, "no model is listed")
    found = client().models.retrieve(models.data[0].id)
    expect(found.id == models.data[0].id and found.object == "model", found)


def test_unknown_model_is_not_found():
    expect_error(openai.NotFoundError, lambda: client().models.retrieve("no-such-model"))
    expect_error(openai.NotFoundError, lambda: complete(model="no-such-model"), param="model",
                 code="model_not_found", text=model())


def test_probes_answer():
    for path in ("/health", "/ready", "/version"):
        status, body = raw("GET", path)
        expect(status == 200 and isinstance(body, dict), path, status, body)


# Completions.


def test_completion_has_text_and_usage():
    answer = complete()
    choice, usage = answer.choices[0], answer.usage
    expect(answer.object == "text_completion" and answer.id, answer)
    expect(choice.text, "the text is empty")
    expect(choice.finish_reason in ("stop", "length"), choice.finish_reason)
    expect(1 <= usage.completion_tokens <= 12, usage)
    expect(usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage)


def test_greedy_completions_repeat():
    expect(complete().choices[0].text == complete().choices[0].text, "two greedy answers differ")


def test_max_tokens_is_kept():
    answer = complete(max_tokens=3, extra_body={"ignore_eos": True})
    expect(answer.usage.completion_tokens == 3, answer.usage)
    expect(answer.choices[0].finish_reason == "length", answer.choices[0].finish_reason)


def test_seeded_sampling_repeats():
    first = complete(temperature=1, seed=7, n=2)
    again = complete(temperature=1, seed=7, n=2)
    expect([c.index for c in first.choices] == [0, 1], first.choices)
    expect([c.text for c in first.choices] == [c.text for c in again.choices],
           "the same seed gave other texts")


def test_prompts_may_be_lists_and_token_ids():
    pair = complete(prompt=[PROMPT, "Two and two are"])
    expect([c.index for c in pair.choices] == [0, 1], pair.choices)
    status, tokens = raw("POST", "/tokenize", json.dumps({"prompt": PROMPT}).encode())
    expect(status == 200, tokens)
    by_ids = complete(prompt=tokens["tokens"])
    expect(by_ids.choices[0].text == complete().choices[0].text, "ids and text differ")
    expect(by_ids.usage.prompt_tokens == tokens["count"], by_ids.usage, tokens["count"])


def test_stop_string_ends_the_text_before_it():
    whole = complete(max_tokens=16).choices[0].text
    stop = whole[len(whole) // 2:len(whole) // 2 + 3]
    answer = complete(max_tokens=16, stop=[stop])
    expect(answer.choices[0].text == whole[:whole.index(stop)], repr(answer.choices[0].text))
    expect(answer.choices[0].finish_reason == "stop", answer.choices[0].finish_reason)


def test_echo_with_logprobs_scores_the_prompt():
    answer = complete(echo=True, logprobs=2, max_tokens=4)
    choice = answer.choices[0]
    expect(choice.text.startswith(PROMPT), repr(choice.text))
    logprobs = choice.logprobs
    count = answer.usage.prompt_tokens + answer.usage.completion_tokens
    expect(len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset),
           "the lists differ in length")
    expect(abs(len(logprobs.tokens) - count) <= 1, len(logprobs.tokens), count)
    expect(logprobs.token_logprobs[0] is None, "the first token has no probability")
    expect(all(p is not None and p <= 1e-3 for p in logprobs.token_logprobs[1:]), "a bad logprob")
    expect("".join(logprobs.tokens).startswith(PROMPT), logprobs.tokens)


def test_decoding_the_prompt_scores_it_as_prefill_does():
    prefill = complete(echo=True, logprobs=0, max_tokens=0).choices[0].logprobs.token_logprobs
    begin = len(prefill) // 2
    decode = complete(max_tokens=0, extra_body={"ebb": {"decode_from": begin, "policy": "dense"}})
    scores = decode.choices[0].logprobs.token_logprobs
    expect(len(scores) == len(prefill), len(scores), len(prefill))
    expect(all(score is None for score in scores[:begin]), "tokens before decode_from have scores")
    worst = max(abs(a - b) for a, b in zip(scores[begin:], prefill[begin:]))
    expect(worst < 0.1, "decode and prefill differ by", worst)


# Chat.


def test_chat_answers_as_the_assistant():
    answer = chat()
    expect(answer.object == "chat.completion", answer.object)
    expect(answer.choices[0].message.role == "assistant", answer.choices[0].message)
    expect(answer.choices[0].message.content, "the content is empty")


def test_chat_takes_text_parts():
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    expect(chat(messages=parts).choices[0].message.content == chat().choices[0].message.content,
           "text parts and a string differ")


def test_chat_continues_an_answer_begun():
    begun = QUESTION + [{"role": "assistant", "content": "The colour is"}]
    more = chat(messages=begun, extra_body={"continue_final_message": True,
                                            "add_generation_prompt": False})
    plain = chat(messages=begun[:1])
    expect(more.choices[0].message.content is not None, more)
    expect(more.usage.prompt_tokens > plain.usage.prompt_tokens, more.usage, plain.usage)


def test_chat_logprobs_have_bytes():
    content = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    expect(content and len(content[0].top_logprobs) == 2, content)
    expect(all(item.logprob <= 1e-3 and item.bytes is not None for item in content), content)


# Streams.


def test_streamed_completion_equals_the_whole_one():
    chunks = list(complete(stream=True))
    text = "".join(chunk.choices[0].text for chunk in chunks)
    expect(text == complete().choices[0].text, repr(text))
    expect(chunks[-1].choices[0].finish_reason in ("stop", "length"), chunks[-1])


def test_streamed_chat_ends_with_usage():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    expect(chunks[0].choices[0].delta.role == "assistant", chunks[0])
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    whole = chat()
    expect(text == whole.choices[0].message.content, repr(text))
    expect(chunks[-1].choices == [] and chunks[-1].usage, chunks[-1])
    expect(chunks[-1].usage.total_tokens == whole.usage.total_tokens, chunks[-1].usage)


def test_a_reader_that_leaves_does_no_harm():
    for _ in range(3):
        stream = complete(stream=True, max_tokens=200, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    expect(complete().choices[0].text, "no answer after readers had left")


def test_concurrent_requests_get_their_own_answers():
    alone = complete().choices[0].text

    async def four(name):
        async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key="unused", max_retries=0,
                                      timeout=TIMEOUT_S) as api:
            return await asyncio.gather(*[
                api.completions.create(model=name, prompt=prompt, max_tokens=12, temperature=0)
                for prompt in (PROMPT, "Two and two are", PROMPT, "Once upon a time")
            ])

    answers = asyncio.run(four(model()))
    expect(answers[0].choices[0].text == answers[2].choices[0].text, "equal prompts differ")
    expect(answers[0].choices[0].text == alone, "an answer depends on its company")


# Ebb's own fields.


def test_usage_says_which_policy_ran():
    for policy in ("dense", "tidal", "streaming", "recycled", "composed", "adore"):
        answer = complete(extra_body={"ebb": {"policy": policy}})
        ebb = answer.usage.model_extra["ebb"]
        expect(ebb["policy"] == policy, ebb)
        expect(ebb["prefill_seconds"] >= 0 and ebb["device_bytes_max"] > 0, ebb)


def test_unknown_keys_of_ebb_name_the_nearest():
    expect_error(openai.BadRequestError, lambda: complete(extra_body={"ebb": {"polcy": "dense"}}),
                 param="ebb.polcy", text="ebb.policy")


# Errors.


def test_bad_values_are_bad_requests():
    expect_error(openai.BadRequestError, lambda: complete(max_tokens=-1), param="max_tokens")
    expect_error(openai.BadRequestError, lambda: complete(temperature=3), param="temperature")
    expect_error(openai.BadRequestError, lambda: complete(prompt=""), param="prompt")
    expect_error(openai.BadRequestError, lambda: complete(prompt=[10**8]), param="prompt[0]")
    expect_error(openai.BadRequestError, lambda: chat(messages=[]), param="messages")
    expect_error(openai.BadRequestError, lambda: complete(logit_bias={"5": 101}), param="logit_bias.5")
    expect_error(openai.BadRequestError, lambda: chat(presence_penalty=3), param="presence_penalty")


def test_a_prompt_longer_than_the_context_is_refused():
    longest = client().models.list().data[0].model_extra["max_model_len"]
    expect_error(openai.BadRequestError, lambda: complete(prompt=[1] * (longest + 1)),
                 code="context_length_exceeded", text=str(longest))


def test_malformed_bodies_and_wrong_paths():
    for method, path, body, want in (("POST", "/v1/completions", b"{", 400),
                                     ("POST", "/v1/completions", b"\xff{}", 400),
                                     ("POST", "/v1/completions", b"[" * 100000, 400),
                                     ("GET", "/v1/completions", None, 405),
                                     ("GET", "/v1/nothing", None, 404)):
        status, answer = raw(method, path, body)
        expect(status == want, method, path, status, answer)
        expect(set(answer["error"]) == {"message", "type", "param", "code"}, answer)


def where(error):
    """The lines of this file that led to `error`, without the client library's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__]
    return "".join(f"        line {f.lineno}: {f.line}\n" for f in frames)


def main():
    if not URL:
        print("openai_client_test: EBB_TEST_URL is not set (example: http://127.0.0.1:8000)")
        return 2
    only = os.environ.get("EBB_TEST_ONLY", "")
    tests = [(name, test) for name, test in globals().items()
             if name.startswith("test_") and only in name]
    print(f"openai {openai.__version__} against {URL}", flush=True)
    failed = 0
    for name, test in tests:
        try:
            test()
            print(f"ok      {name}", flush=True)
        except Exception as error:  # noqa: BLE001: any exception is a failure of this one test
            failed += 1
            print(f"FAILED  {name}\n        {type(error).__name__}: {error}\n{where(error)}",
                  flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
