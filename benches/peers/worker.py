"""The process of one contender. Reads requests from stdin and answers on stdout, a JSON object a line each.

{"do": "build"} builds the index with all cores and then keeps the process to one core, `core`.
{"do": "search", "ef": 50} runs all queries: seconds, and either the numbers found (a .npy file) or the recall.

Its argument is the job as JSON. An answer with "error" says in one sentence what went wrong.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from contenders import Job, class_of
from environment import Trouble


def pin(core: int) -> None:
    """Keeps every thread of this process on one core, those that the library has started too."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def main() -> None:
    # Libraries print what they like on stdout; the answers must not be mixed with it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    told = json.loads(sys.argv[1])
    core = told.pop("core")
    job = Job(**told)

    contender = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "build":
                contender = class_of(job.contender)(job)
                answer = contender.build()
                # The saved index was made to be measured.
                index = Path(job.folder) / "index"
                shutil.rmtree(index) if index.is_dir() else index.unlink(missing_ok=True)
                pin(core)
            else:
                answer = contender.search(request["ef"])
        except Exception as error:  # A library may raise anything, and none of it may end the comparison.
            kind = "" if isinstance(error, Trouble) else f"{type(error).__name__}: "
            answer = {"error": " ".join(f"{kind}{error}".split())}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
