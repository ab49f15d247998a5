#!/bin/sh
# datasets 5.2.0 (Hugging Face) reads a folder of a re-ID data set as "imagefolder" without its queries. The splits are
# guessed from words in the names of folders: bounding_box_train is train, bounding_box_test is test. As two were found, all
# that is named otherwise is left out without a word: query/ and gt_bbox/ of Market-1501. A folder of the same images whose
# names have no such word (gallery/, query/) is all taken, as train.
# Seen, 2 images in each of bounding_box_train, bounding_box_test, query, gt_bbox: train 2, test 2. In gallery, query: train 4.
# Runs datasets==5.2.0 pillow==12.3.0 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    datasets==5.2.0 pillow==12.3.0
cd "$T" && HF_HOME="$T/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$T/venv/bin/python" - <<'PYTHON'
from pathlib import Path

from datasets import load_dataset
from PIL import Image


def read(root: str, folders: list[str]) -> dict[str, list[str]]:
    for folder in folders:
        Path(root, folder).mkdir(parents=True)
        for pid in (1, 2):
            Image.new("RGB", (8, 16), (pid, 0, 0)).save(Path(root, folder, f"000{pid}_c1s1_000151_01.jpg"))
    found = load_dataset("imagefolder", data_dir=root)
    return {split: [Path(row["image"].filename).parent.name for row in found[split]] for split in found}


market = read("Market-1501", ["bounding_box_train", "bounding_box_test", "query", "gt_bbox"])
print(market)
assert market == {"train": ["bounding_box_train"] * 2, "test": ["bounding_box_test"] * 2}
other = read("other", ["gallery", "query"])
print(other)
assert {split: sorted(folders) for split, folders in other.items()} == {"train": ["gallery"] * 2 + ["query"] * 2}
PYTHON
