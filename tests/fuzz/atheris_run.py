"""Fuzzes a parser for as long as one likes, guided by coverage: a longer run than the tests' own.

    pip install atheris
    python -m tests.fuzz.atheris_run                  # the names of the targets
    python -m tests.fuzz.atheris_run TARGET [SECONDS] # default: 300
    python -m tests.fuzz.atheris_run TARGET FILE      # one input again, of a crash-... file that a run has left

Inputs that found something new are kept in .cache/fuzz/TARGET and are where the next run begins.
"""

from __future__ import annotations

import sys
from pathlib import Path

CORPUS = Path(__file__).parents[2] / ".cache/fuzz"


def main(arguments: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["mysqlproxy"]):
        from tests.fuzz.targets import TARGETS
    if not arguments or arguments[0] not in TARGETS:
        print("targets:", *TARGETS)
        return 0 if not arguments else 2
    name = arguments[0]
    target = TARGETS[name]
    if len(arguments) > 1 and not arguments[1].isdigit():
        target.parse(Path(arguments[1]).read_bytes())
        return 0
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / f"seed{number}").write_bytes(seed)
    seconds = arguments[1] if len(arguments) > 1 else "300"
    options = [f"-max_total_time={seconds}", "-max_len=2048", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(folder), f"-artifact_prefix={folder}/", *options], target.parse)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
