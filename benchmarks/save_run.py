"""Keep what a command prints as JSON, with command, revision, machine and seed: a run for tables of docs/results.md.

    python benchmarks/save_run.py docs/runs/table1.json vpmsearch reproduce table1 --data Market-1501-v15.09.15 --json

The command must print one object that has "rows" or "results".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from machine import as_typed, run_of, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="ends with --json")
    given = parser.parse_args()
    done = subprocess.run(given.command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the command failed with {done.returncode}; nothing is saved")
    try:
        values = json.loads(done.stdout)
    except ValueError:
        sys.exit("the command printed no JSON; does it end with --json? Nothing is saved")
    values = {"rows" if key == "results" else key: value for key, value in values.items()}
    if not values.get("rows"):
        sys.exit('the command printed no "rows" and no "results"; nothing is saved')
    seeded = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    seeded.add_argument("--seed", type=int, default=0)
    seed: int = seeded.parse_known_args(given.command)[0].seed
    save(run_of(as_typed(given.command), values, seed), given.output)


if __name__ == "__main__":
    main()
