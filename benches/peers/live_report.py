"""The result of live.py: one object with everything, and a table made of it."""

import statistics
from importlib import metadata

from contenders import M, is_lodestore
from live_contenders import Contender, Plan
from report import NOTHING, REFERENCE, table

UNSAFE = "not safe"
# How each kind of number is written.
FORMATS = {"us": "{:,.1f}", "bytes": "{:,.1f}", "qps": "{:,.0f}", "ratio": "{:.2f}", "percent": "{:.0f} %",
           "ef": "{:.0f}", "recall": "{:.4f}"}


def _rate(runs: dict, run: str) -> float:
    return runs[run]["qps"]


def _share(runs: dict, busy: str, before: str, after: str) -> float:
    """A reader's speed beside a writer, of what it does alone right before and after: in percent."""
    idle = (_rate(runs, before) + _rate(runs, after)) / 2
    return 100 * _rate(runs, busy) / idle


# What is read off the runs of a round. All that belongs to a ratio is of one round: of those the median is taken.
OF_A_ROUND = {
    "put_us": lambda r: r["put"]["mean_us"],
    "put_p99_us": lambda r: r["put"]["p99_us"],
    "update_us": lambda r: r["update"]["mean_us"],
    "update_p99_us": lambda r: r["update"]["p99_us"],
    "many_1_qps": lambda r: _rate(r, "many-1"),
    "many_2_qps": lambda r: _rate(r, "many-2"),
    "many_ratio": lambda r: _rate(r, "many-2") / _rate(r, "many-1"),
    "own_1_qps": lambda r: _rate(r, "own-1"),
    "own_2_qps": lambda r: _rate(r, "own-2"),
    "own_ratio": lambda r: _rate(r, "own-2") / _rate(r, "own-1"),
    "mixed_idle_qps": lambda r: _rate(r, "mixed-idle-1"),
    "mixed_many_percent": lambda r: _share(r, "mixed-many", "mixed-idle-1", "mixed-idle-2"),
    "mixed_many_rows_per_s": lambda r: r["mixed-many"]["rows_per_s"],
    "mixed_single_percent": lambda r: _share(r, "mixed-single", "mixed-idle-2", "mixed-idle-3"),
    "mixed_single_rows_per_s": lambda r: r["mixed-single"]["rows_per_s"],
}


def _memory(contender: Contender, plan: Plan) -> dict[str, float]:
    told = contender.memory
    values = {"memory_bytes": told["bytes"]}
    if contender.ours:
        vectors = sum(size for path, size in told["files"].items() if path.endswith("/vectors"))
        values["mapped_bytes"] = told["mapped_bytes"]
        values["walk_bytes"] = told["links_and_codes_bytes"] + vectors
    return {name: size / plan.stored for name, size in values.items()}


def _values(contender: Contender, plan: Plan) -> dict[str, float]:
    """The medians, by name; without those that this contender or machine has no runs for."""
    values = {"ef": contender.ef, "recall": contender.found["recall"], **_memory(contender, plan)}
    for name, read in OF_A_ROUND.items():
        try:
            values[name] = statistics.median(read(entry["runs"]) for entry in contender.rounds)
        except KeyError:
            continue
    return values


def collect(contenders: list[Contender], plan: Plan, **told: object) -> dict:
    """Everything that was measured, and what follows from it."""
    entries = {}
    for contender in contenders:
        entry = {"built": contender.built, "ef": contender.ef, "found": contender.found,
                 "memory": contender.memory, "rounds": contender.rounds, "values": _values(contender, plan)}
        if not contender.ours:
            entry["version"] = metadata.version("hnswlib")
        entries[contender.name] = entry
    reference = entries.get(REFERENCE, {}).get("values", {})
    for entry in entries.values():
        entry["ratios"] = {name: value / reference[name] for name, value in entry["values"].items()
                           if reference.get(name)}
    writes = {"puts": plan.puts, "updates": plan.puts, "many": plan.many, "batch": plan.batch,
              "single": told["dataset"]["fresh"] - 2 * plan.puts - plan.many}
    return {**told, "k": plan.k, "m": M, "cores": plan.cores, "seconds": plan.seconds, "writes": writes,
            "contenders": entries}


# Label, the value, how it is written, and a second one in brackets.
LINES = [
    ("ef (recall)", "ef", "ef", "recall"),
    ("put, µs (p99)", "put_us", "us", "put_p99_us"),
    ("update, µs (p99)", "update_us", "us", "update_p99_us"),
    ("memory, bytes a vector", "memory_bytes", "bytes", None),
    ("… in maps of files", "mapped_bytes", "bytes", None),
    ("links, codes, touched vectors", "walk_bytes", "bytes", None),
    ("1 thread, one call, queries/s", "many_1_qps", "qps", None),
    ("2 threads, one call (× 1)", "many_2_qps", "qps", "many_ratio"),
    ("1 thread, own calls, queries/s", "own_1_qps", "qps", None),
    ("2 threads, own calls (× 1)", "own_2_qps", "qps", "own_ratio"),
    ("reader alone, queries/s", "mixed_idle_qps", "qps", None),
    ("reader beside put_many (rows/s)", "mixed_many_percent", "percent", "mixed_many_rows_per_s"),
    ("reader beside put (rows/s)", "mixed_single_percent", "percent", "mixed_single_rows_per_s"),
]


def _kind(name: str) -> str:
    return next((kind for kind in FORMATS if name == kind or name.endswith(f"_{kind}")), "qps")


def _cell(values: dict, name: str, kind: str, second: str | None) -> str:
    if name not in values:
        return NOTHING
    more = f" ({FORMATS[_kind(second)].format(values[second])})" if second else ""
    return FORMATS[kind].format(values[name]) + more


def markdown(result: dict) -> str:
    """The table, with what is needed to read it."""
    machine, dataset, writes = result["machine"], result["dataset"], result["writes"]
    entries = result["contenders"]
    ratios = [name for name in entries if is_lodestore(name) and REFERENCE in entries]
    header = ["", *entries, *(f"{name} × {REFERENCE}" for name in ratios)]
    rows = []
    for label, name, kind, second in LINES:
        cells = [_cell(entry["values"], name, kind, second) for entry in entries.values()]
        if all(cell == NOTHING for cell in cells):
            continue
        if kind == "percent":
            cells = [UNSAFE if cell == NOTHING else cell for cell in cells]
        beside = [entries[n]["ratios"].get(name) for n in ratios]
        rows.append([label, *cells, *(NOTHING if value is None else f"{value:.2f}" for value in beside)])
    about = (f"**{dataset['name']}: {dataset['rows'] - dataset['fresh']:,} × {dataset['dim']}, {dataset['metric']}, "
             f"k {result['k']}.** {dataset['queries']:,} queries; rounds: {result['rounds']}, each with "
             f"{writes['puts']:,} puts, {writes['updates']:,} updates, and beside a reader "
             f"{writes['many']:,} rows in batches of {writes['batch']:,} and "
             f"{writes['single']:,} single ones. M {result['m']}; "
             f"{machine['cpu']}, {machine['kernel']}, {machine['date'][:10]}.")
    notes = [f"- {name} is left out: {why}" for name, why in result["left_out"].items()]
    if any(UNSAFE in row for row in rows):
        notes.insert(0, f"- {UNSAFE}: hnswlib's README says that `add_items` is not safe beside `knn_query`.")
    return "\n\n".join(part for part in (about, table(header, rows), "\n".join(notes)) if part)
