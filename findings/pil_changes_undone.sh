#!/bin/sh
# Three libraries that pack images into data sets store the file that an image came from, not the image that they are given:
# datasets 5.2.0 (Hugging Face; in from_dict and in map), litdata 0.2.76 (optimize) and mosaicml-streaming 0.13.0 (MDSWriter,
# "jpeg"). Pillow changes an image in place by paste, putpixel, thumbnail and ImageDraw, and leaves it the
# name of its file. A face that was blacked out so is back in the data set, and a picture that was made smaller is as
# large as before. No warning. After a method that gives a new image (copy, crop, resize) the name is gone, and all is right.
# MDSWriter's "png" stores what it is given.
# Seen for a red picture of 64 x 128 whose upper part was painted black: black in memory; red in datasets' from_dict, in its
# map and in MDS; litdata's chunk holds the bytes of the file. After thumbnail to 32 x 64: datasets 64 x 128.
# After copy() and paste: black in datasets and in MDS.
# Runs datasets==5.2.0 litdata==0.2.76 mosaicml-streaming==0.13.0 pillow==13.0.0 torch==2.13.0 torchvision==0.28.0
# transformers==5.24.0 (which streaming imports) numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when
# one of them behaves otherwise. (torchvision does not load its operators beside a torch for the CPU; the two that are then
# missed are declared, and nothing here uses them.)
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 pillow==13.0.0 datasets==5.2.0 transformers==5.24.0 requests==2.34.2 boto3==1.44.8 lightning-utilities==0.15.3 \
    Brotli==1.2.1 python-snappy==0.7.3 zstd==1.5.7.2 tifffile==2026.3.3 xxhash==4.1.0
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --no-deps --disable-pip-version-check \
    litdata==0.2.76 mosaicml-streaming==0.13.0 torchvision==0.28.0 catalogue==2.0.10
export HF_HOME="$T/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 DISABLE_VERSION_CHECK=1 HOME="$T"
cd "$T" && cat > seen.py <<'PYTHON'
import torch

try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from pathlib import Path

import datasets
import litdata
from PIL import Image
from streaming import MDSWriter, StreamingDataset

FILE = "photo/a.jpg"


def hidden(image):
    image.paste("black", (0, 0, 64, 40))
    return image


def packed(path):
    return {"image": hidden(Image.open(path))}


def colour(image):
    return "black" if max(image.convert("RGB").getpixel((10, 10))) < 20 else "red"


def by_datasets(image):
    features = datasets.Features(image=datasets.Image())
    return datasets.Dataset.from_dict({"image": [image]}, features=features)[0]["image"]


def main():
    Path("photo").mkdir()
    Image.new("RGB", (64, 128), "red").save(FILE)
    print("datasets", datasets.__version__, "litdata", litdata.__version__)
    seen = {"memory": colour(hidden(Image.open(FILE))), "from_dict": colour(by_datasets(hidden(Image.open(FILE))))}
    photos = datasets.load_dataset("imagefolder", data_dir="photo", split="train")
    seen["map"] = colour(photos.map(lambda row: {"image": hidden(row["image"])})[0]["image"])
    seen["copy"] = colour(by_datasets(hidden(Image.open(FILE).copy())))
    small = Image.open(FILE)
    small.thumbnail((32, 64))
    sizes = small.size, by_datasets(small).size

    images = [hidden(Image.open(FILE)), hidden(Image.open(FILE).copy())]
    with MDSWriter(out="mds", columns={"jpeg": "jpeg", "png": "png"}) as writer:
        for image in images:
            writer.write({"jpeg": image, "png": image})
    rows = list(StreamingDataset(local="mds", shuffle=False, batch_size=1))
    seen["mds jpeg"], seen["mds png"], seen["mds copy"] = (
        colour(rows[0]["jpeg"]), colour(rows[0]["png"]), colour(rows[1]["jpeg"])
    )

    litdata.optimize(packed, [FILE], output_dir="chunks", chunk_bytes="1MB", num_workers=1)
    chunk = b"".join(path.read_bytes() for path in Path("chunks").glob("*.bin"))
    seen["litdata"] = "bytes of the file" if Path(FILE).read_bytes() in chunk else "other"
    print(seen, "thumbnail:", sizes)
    assert seen == {
        "memory": "black", "from_dict": "red", "map": "red", "copy": "black",
        "mds jpeg": "red", "mds png": "black", "mds copy": "black", "litdata": "bytes of the file",
    }  # fmt: skip
    assert sizes == ((32, 64), (64, 128))


if __name__ == "__main__":
    main()
PYTHON
"$T/venv/bin/python" -W ignore seen.py
