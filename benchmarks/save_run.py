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
    values = json.loads(done.stdout)
    values = {"rows" if key == "results" else key: value for key, value in values.items()}
    if not values.get("rows"):
        sys.exit('the command printed no "rows" and no "results"; nothing is saved')
    words = given.command
    seed = int(words[words.index("--seed") + 1]) if "--seed" in words else 0
    save(run_of(as_typed(words), values, seed), given.output)


if __name__ == "__main__":
    main()
