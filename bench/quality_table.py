#!/usr/bin/env python3
"""Every policy at three budgets, by every measure of quality: the large table of docs/quality.md.

    python3 bench/quality_table.py --out runs/table [--policies P;P] [--print]

Runs ebb-score four times, in process, one folder below --out each (perplexity, needle, ruler, longgen), and prints a
Markdown table of what they found. Like ebb-score itself it goes on where it stopped; --print runs nothing. Some fifty
minutes on two cores. Speeds are tokens/s of the perplexity run, so they compare within the table only.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXTS = ["/usr/share/perl/5.36.0/pod/perldiag.pod", "/usr/lib/python3.11/pydoc_data/topics.py"]
POLICIES = ["streaming:", "tidal:variant=faithful,", "tidal:window=n/32,", "recycled:stride=10,",
            "composed:stride=4,window=n/32,", "adore:", "anchored:window=n/32,",
            "anchored:window=n/32,layer_budgets=even,"]
BUDGETS = ["n/16", "n/8", "n/4"]
BUFFER = "n/4"  # rows of the hot buffer that hit rates are of
MEASURES = {
    "perplexity": ["--text", *TEXTS, "--context", "1024", "--decode", "256", "--window", "256"],
    "needle": ["--text", TEXTS[0], "--lengths", "1024", "--depths", "0,0.5,1", "--samples", "1"],
    "ruler": ["--lengths", "512", "--samples", "1", "--no-generate"],
    "longgen": ["--length", "512", "--no-generate"],
}


def run(measure, options):
    model = options.model or subprocess.run([ROOT / "deploy" / "fetch_model.sh"], check=True, text=True,
                                            stdout=subprocess.PIPE).stdout.strip()
    command = [ROOT / "build" / "bin" / "ebb-score", measure, "--model", model, "--profile",
               ROOT / "configs/profiles/smollm2-135m-instruct.yaml", "--controller",
               ROOT / "configs/controllers/smollm2-135m-instruct.adore.safetensors", *MEASURES[measure],
               "--policies", options.policies, "--out", options.out / measure]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 3):  # 3: some cells failed, and say so
        sys.exit(f"ebb-score {measure} ended with {done.returncode}")


def results(folder, measure):
    """By policy; of RULER the mean over its tasks."""
    summary = json.loads((folder / measure / "summary.json").read_text())
    found = {}
    for result in summary["results"]:
        if measure == "ruler" and result["task"] != "all":
            continue
        found[result["policy"]] = result
    return found


def fetches(result):
    """Rows that a layer fetches in a step, and of the K rows that it reads the share that the buffer has. Sets of
    single heads read more than K rows together: no share is known of them."""
    fetched = result.get("fetched_per_layer_and_step")
    if fetched is None:
        return "-", "-"
    of_heads = result["policy"].startswith("recycled") or "faithful" in result["policy"]
    rows = fetched[BUFFER]
    return f"{rows:.{0 if rows >= 10 else 1}f}", "-" if of_heads else f"{1 - rows / result['rows']:.2f}"


def row(policy, found):
    perplexity, needle, ruler, longgen = (found[m].get(policy) for m in MEASURES)
    name, _, settings = policy.partition(":")
    kept = [s for s in settings.split(",") if s and not s.startswith("budget=")]
    budget = next((s[7:] for s in settings.split(",") if s.startswith("budget=")), "-")
    fetched, hits = fetches(perplexity) if perplexity else ("-", "-")
    return [f"`{name}{':' if kept else ''}{','.join(kept)}`", budget,
            f"{100 * (perplexity['ratio'] - 1):+.1f}" if perplexity else "-",
            f"{perplexity['divergence_millinats']:.0f}" if perplexity else "-",
            f"{needle['right']} of {needle['prompts']}" if needle else "-",
            f"{-ruler['loss_mean']:.2f}" if ruler else "-",
            f"{-longgen['loss_mean']:.2f}" if longgen else "-",
            fetched, hits,
            f"{100 * perplexity['cost']['kv_read_share']:.0f}" if perplexity else "-",
            f"{perplexity['cost']['decode_tokens_per_second']:.0f}" if perplexity else "-"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--model", help="default: what deploy/fetch_model.sh fetches")
    parser.add_argument("--policies", default="dense;" + ";".join(p + "budget=" + b for b in BUDGETS for p in POLICIES))
    parser.add_argument("--print", action="store_true", help="the table of what is there")
    options = parser.parse_args()
    if not options.print:
        for measure in MEASURES:
            run(measure, options)
    found = {measure: results(options.out, measure) for measure in MEASURES}
    header = ["policy", "budget", "perplexity against dense, %", "KL, mnat", "needle", "RULER-style",
              "long generation", f"rows fetched, buffer {BUFFER}", "hit rate", "KV read %", "tokens/s"]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    rows = [row(policy, found) for policy in options.policies.split(";")]
    first = {cells[0]: i for i, cells in reversed(list(enumerate(rows)))}  # budgets of a policy stand together
    for cells in sorted(rows, key=lambda cells: first[cells[0]]):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
