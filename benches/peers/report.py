"""The result: one object with everything, and tables made of it."""

from collections.abc import Callable
from importlib import metadata

from contenders import DEGREE, EF_CONSTRUCTION, M, PACKAGES, class_of, is_lodestore
from curve import Limit, at_recall
from data import Dataset
from runner import Field, Runner

REFERENCE = "hnswlib"
NOTHING = "—"
# No setting is that bad, so there is no line to read a speed from, but neither has the contender failed.
ABOVE = "all above"


def _variant(runner: Runner, rows: int) -> dict:
    build = dict(runner.build)
    for kind in ("file", "rss"):
        if f"{kind}_bytes" in build:
            build[f"{kind}_bytes_per_vector"] = build[f"{kind}_bytes"] / rows
    return {"options": runner.variant.options, "hugetlb": runner.variant.huge, "build": build,
            "warm_up": runner.coarse, "points": runner.points(), "rounds": runner.rounds}


def _best(variants: dict[str, dict], target: float) -> dict | None:
    """The fastest variant at a recall."""
    found = []
    for label, variant in variants.items():
        speed = at_recall(variant["points"], target, "qps", log=True)
        if speed is not None:
            fastest = at_recall(variant["points"], target, "qps_fastest", log=True)
            found.append({"variant": label, "qps": speed, "qps_fastest": fastest})
    return max(found, key=lambda entry: entry["qps"], default=None)


def _walk(entry: dict, variant: dict, target: float, limit: Limit) -> dict:
    """Hops and distances of a query at a recall, and its time beside the least possible."""
    hops, distances = (at_recall(variant["points"], target, name) for name in ("hops", "distances"))
    took, least = 1e6 / entry["qps"], limit.us(hops, distances)
    return {"hops": hops, "distances": distances, "us": took, "limit_us": least, "times_limit": took / least}


def collect(field: Field, dataset: Dataset, targets: list[float], limit_of: Callable[[str], Limit],
            **told: object) -> dict:
    """Everything that was measured, and what follows from it."""
    contenders: dict[str, dict] = {}
    for runner in field.runners:
        name = runner.job.contender
        entry = contenders.setdefault(name, {"batch": class_of(name).batch, "variants": {}})
        entry["variants"][runner.variant.label or "plain"] = _variant(runner, len(dataset.base))
    for name, entry in contenders.items():
        if is_lodestore(name):
            entry["limit"] = vars(limit_of(name))
        else:
            entry["versions"] = {package: metadata.version(package) for package in PACKAGES[name]}
        entry["at_recall"] = {}
        for target in targets:
            best = _best(entry["variants"], target)
            if best and is_lodestore(name):
                best |= _walk(best, entry["variants"][best["variant"]], target, limit_of(name))
            entry["at_recall"][str(target)] = best
    reference = contenders.get(REFERENCE, {}).get("at_recall", {})
    for entry in contenders.values():
        for target, best in entry["at_recall"].items():
            if best and reference.get(target):
                best["ratio"] = best["qps"] / reference[target]["qps"]
    return {
        "dataset": {"name": dataset.name, "metric": dataset.metric, "rows": len(dataset.base),
                    "dim": dataset.base.shape[1], "queries": len(dataset.queries), "truth": dataset.truth_from},
        "graph": {"m": M, "degree": DEGREE, "ef_construction": EF_CONSTRUCTION},
        "recalls": targets, **told, "contenders": contenders, "left_out": field.left_out,
    }


def shown_variant(entry: dict) -> dict:
    """The variant that the first table and the plot show: the fastest at the first recall that one of them reached."""
    named = next((best["variant"] for best in entry["at_recall"].values() if best), None)
    return entry["variants"][named] if named else next(iter(entry["variants"].values()))


def _bytes(build: dict) -> str:
    for kind in ("file", "rss"):
        if f"{kind}_bytes_per_vector" in build:
            return f"{build[f'{kind}_bytes_per_vector']:,.0f} ({kind})"
    return NOTHING


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, in columns that line up as plain text too."""
    widths = [max(len(row[n]) for row in [header, *rows]) for n in range(len(header))]

    def line(cells: list[str]) -> str:
        first, *others = (cell.ljust(width) if n == 0 else cell.rjust(width)
                          for n, (cell, width) in enumerate(zip(cells, widths)))
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 2) if n == 0 else "-" * (width + 1) + ":"
                          for n, width in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def _speeds(result: dict) -> str:
    header = ["contender", "build, s", "bytes a vector"]
    for target in result["recalls"]:
        header += [f"QPS at {target:g} (fastest)", f"× {REFERENCE}"]
    rows = []
    for name, entry in result["contenders"].items():
        build = shown_variant(entry)["build"]
        row = [name + (" (batch)" if entry["batch"] else ""), f"{build['seconds']:.1f}", _bytes(build)]
        for target, best in entry["at_recall"].items():
            lowest = min((point["recall"] for point in shown_variant(entry)["points"]), default=0)
            none = ABOVE if lowest > float(target) else NOTHING
            row.append(f"{best['qps']:,.0f} ({best['qps_fastest']:,.0f})" if best else none)
            row.append(f"{best['ratio']:.2f}" if best and "ratio" in best else NOTHING)
        rows.append(row)
    return table(header, rows)


def _walks(result: dict) -> str:
    header = ["contender", "recall", "hops", "distances", "µs a query", "limit, µs", "× limit"]
    rows = [[name, target, f"{best['hops']:.1f}", f"{best['distances']:.0f}", f"{best['us']:.1f}",
             f"{best['limit_us']:.1f}", f"{best['times_limit']:.2f}"]
            for name, entry in result["contenders"].items() if "limit" in entry
            for target, best in entry["at_recall"].items() if best]
    return table(header, rows) if rows else ""


def title(result: dict) -> str:
    dataset = result["dataset"]
    return f"{dataset['name']}: {dataset['rows']:,} × {dataset['dim']}, {dataset['metric']}, k {result['k']}"


def markdown(result: dict) -> str:
    """The tables, with what is needed to read them."""
    machine, dataset = result["machine"], result["dataset"]
    about = (f"**{title(result)}.** {dataset['queries']:,} queries on one core, rounds: {result['rounds']}; "
             f"M {M}, degree {DEGREE}, ef_construction {EF_CONSTRUCTION}, {result['threads_build']} threads build. "
             f"{machine['cpu']}, {machine['kernel']}, {machine['date'][:10]}.")
    left_out = "\n".join(f"- {name} is left out: {why}" for name, why in result["left_out"].items())
    return "\n\n".join(part for part in (about, _speeds(result), _walks(result), left_out) if part)
