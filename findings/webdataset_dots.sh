#!/bin/sh
# WebDataset 1.0.2 ends a sample's key at the first dot of its name. Names with a time in them, as Frigate gives its
# snapshots (CAMERA-SECONDS.MICROSECONDS-ID), are so cut: crops of one camera and second come back as one sample, under
# names of fields (123456-abc.jpg) that no code asks for, and nothing is said. TarWriter takes such keys as they are.
# Seen: 3 samples written, 2 read: front-1774747800 with 123456-abc.jpg and 223456-abd.jpg, and 0001_c1s1_000151_01.
# Runs webdataset==1.0.2 pillow==12.3.0 in a temporary folder, without vpmsearch; exits non-zero when it behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/venv" && "$T/venv/bin/pip" install --quiet --disable-pip-version-check webdataset==1.0.2 pillow==12.3.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import webdataset as wds
from PIL import Image

names = ["front-1774747800.123456-abc", "front-1774747800.223456-abd", "0001_c1s1_000151_01"]
with wds.TarWriter("crops.tar") as writer:
    for shade, name in enumerate(names):
        writer.write({"__key__": name, "jpg": Image.new("RGB", (8, 16), (shade, 0, 0))})
read = list(wds.WebDataset("crops.tar", shardshuffle=False))
fields = {sample["__key__"]: sorted(name for name in sample if not name.startswith("__")) for sample in read}
print(len(names), "written,", len(read), "read:", fields)
assert fields == {
    "front-1774747800": ["123456-abc.jpg", "223456-abd.jpg"],
    "0001_c1s1_000151_01": ["jpg"],
}
PYTHON
