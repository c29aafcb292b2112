#!/usr/bin/env python3
"""The quickstart's questions and its report: makes the batch file, reads the answers, compares two policies."""
import argparse
import json
import os
import sys
import urllib.request

NEEDLES = [("Lisbon", 4817), ("Nairobi", 7352), ("Oslo", 2986), ("Quito", 6143)]
POLICIES = ["dense", "tidal"]


def planted(document, index):
    """The document with one sentence after a paragraph at depth (index + 1) / 5."""
    city, number = NEEDLES[index]
    paragraphs = document.split("\n\n")
    at = len(paragraphs) * (index + 1) // (len(NEEDLES) + 1)
    sentence = f"The secret number for {city} is {number}."
    return "\n\n".join(paragraphs[:at] + [sentence] + paragraphs[at:])


def make(args):
    document = open(args.document, encoding="utf-8").read()
    lines = []
    for index, (city, _) in enumerate(NEEDLES):
        question = f"{planted(document, index)}\n\nWhat is the secret number for {city}?"
        body = {"messages": [{"role": "user", "content": question},
                             {"role": "assistant", "content": f"The secret number for {city} is"}],
                "continue_final_message": True, "add_generation_prompt": False,
                "max_tokens": 10, "temperature": 0}
        lines.append({"custom_id": f"needle-{city}", "method": "POST",
                      "url": "/v1/chat/completions", "body": body})
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}],
            "max_tokens": 24, "temperature": 0}
    lines.append({"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions", "body": body})
    with open(os.path.join(args.out, "questions.jsonl"), "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line) + "\n")


def read_answers(folder, policy):
    answers = {}
    with open(os.path.join(folder, policy + ".jsonl"), encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            response = entry.get("response") or {}
            if response.get("status_code") != 200:
                raise SystemExit(f"{policy}: {entry['custom_id']} failed: {line.strip()[:500]}")
            answers[entry["custom_id"]] = response["body"]
    return answers


def text_of(body):
    return " ".join(body["choices"][0]["message"]["content"].split())


def is_right(city, number, body):
    return text_of(body).replace(",", "").startswith(str(number))


def rights(folder, policy):
    answers = read_answers(folder, policy)
    return sum(is_right(city, number, answers[f"needle-{city}"]) for city, number in NEEDLES)


def totals(answers):
    usage = [answers[f"needle-{city}"]["usage"] for city, _ in NEEDLES]
    prompt = sum(u["prompt_tokens"] for u in usage)
    decoded = sum(max(0, u["completion_tokens"] - 1) for u in usage)
    ebb = [u["ebb"] for u in usage]
    return {
        "device": max(e["device_bytes_max"] for e in ebb) / 2**20,
        "prefill": prompt / max(1e-9, sum(e["prefill_seconds"] for e in ebb)),
        "decode": decoded / max(1e-9, sum(e["decode_seconds"] for e in ebb)),
        "released": sum(e["released_records"] for e in ebb),
        "host": sum(e["restored_host_records"] for e in ebb),
        "ssd": sum(e["restored_ssd_records"] for e in ebb),
        "budget": max(e["budget"] for e in ebb),
        "prompt": max(u["prompt_tokens"] for u in usage),
    }


def report(args):
    answers = {policy: read_answers(args.out, policy) for policy in POLICIES}
    print(f"{'question':<18}{'expected':>9}   {'dense':<24}{'tidal':<24}")
    for city, number in NEEDLES:
        cells = []
        for policy in POLICIES:
            body = answers[policy][f"needle-{city}"]
            mark = "right" if is_right(city, number, body) else "WRONG"
            cells.append(f"{text_of(body)[:16]:<17}{mark:<7}")
        print(f"{'secret of ' + city:<18}{number:>9}   {cells[0]}{cells[1]}")
    for policy in POLICIES:
        print(f"chat, {policy}: {text_of(answers[policy]['chat'])[:90]}")
    sums = {policy: totals(answers[policy]) for policy in POLICIES}
    rows = [("tokens attended (K)", "budget", "{:.0f}"), ("prompt tokens", "prompt", "{:.0f}"),
            ("device MiB, most", "device", "{:.1f}"), ("prefill tokens/s", "prefill", "{:.0f}"),
            ("decode tokens/s", "decode", "{:.1f}"), ("records released", "released", "{:.0f}"),
            ("  restored, host", "host", "{:.0f}"), ("  restored, SSD", "ssd", "{:.0f}")]
    print(f"\n{'':<22}{'dense':>12}{'tidal':>12}")
    for label, key, form in rows:
        cells = [form.format(sums[policy][key]) for policy in POLICIES]
        if key == "budget":
            cells[0] = "all"
        print(f"{label:<22}{cells[0]:>12}{cells[1]:>12}")
    status = json.load(open(os.path.join(args.out, "tidal.status.json"), encoding="utf-8"))
    for store in status["stores"]:
        for tier in store["tiers"]:
            print(f"store {store['name']}, {tier['tier']}: {tier['used_bytes'] / 2**20:.1f} MiB of "
                  f"{tier['capacity_bytes'] / 2**20:.0f} MiB, {tier['granules']} granules")


def longest(args):
    """Id of the newest sequence with a long prompt."""
    with urllib.request.urlopen(args.admin + "/admin/v1/sequences", timeout=10) as reply:
        sequences = json.load(reply)["sequences"]
    print(next(s["seq"] for s in sequences if s["prompt_tokens"] > 1000))


def verdict(args):
    dense, tidal = rights(args.out, "dense"), rights(args.out, "tidal")
    sums = totals(read_answers(args.out, "tidal"))
    problems = []
    if tidal < dense:
        problems.append(f"tidal was right {tidal} times, dense {dense} times")
    for key in ("released", "host", "ssd"):
        if sums[key] == 0:
            problems.append(f"no records: {key}")
    print(f"\ntidal right {tidal} of {len(NEEDLES)}, dense {dense} of {len(NEEDLES)}.")
    if problems:
        sys.exit("quickstart: not as expected: " + "; ".join(problems))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, options in [("make", make, ["document", "out"]), ("report", report, ["out"]),
                               ("longest", longest, ["admin"]), ("verdict", verdict, ["out"])]:
        command = commands.add_parser(name)
        for option in options:
            command.add_argument("--" + option, required=True)
        command.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
