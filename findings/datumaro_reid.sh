#!/bin/sh
# Datumaro 1.13.12 loses images and labels of re-ID sets without a word.
# 1. Reading Market-1501: what stands behind the last number of a name becomes the image's whole name. 18 images of
#    bounding_box_test and 6 queries of Market-1501 are called ….jpg.jpg: of each folder's, one is left, called ".jpg".
#    Names with an ending of their own (0001_c1s1_000151_01_cut.jpg) do the same.
# 2. Writing Market-1501 from images without frame_id: all images of one person, camera and track get the same name and
#    overwrite each other. One file is left; the list names it once for each image.
# 3. MARS written as Market-1501: camera 1 becomes camera 2, and so on (one reader counts from 0, the other from 1). And
#    MARS at a relative path is an empty data set.
# 4. MOTChallenge read and written again: tracks are numbered anew, in order of appearance, and track 0 (trackers that count
#    from 0) becomes -1, no track.
# Seen: 5 images, 3 of them .jpg.jpg: 3 read. 3 images written: 1 file. 0001C1T0001F001 and 0001C2T0001F002 of MARS:
# 0001_c2s1_000001_00 and 0001_c3s1_000002_00; relative: 0 images. Tracks 17 5 5 0 17: 1 2 2 -1 1.
# Runs datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0 in a temporary folder, without vpmsearch; exits non-zero when it
# behaves otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    datumaro==1.13.12 numpy==2.4.6 pillow==12.3.0
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
from pathlib import Path

from datumaro import Dataset, DatasetItem
from datumaro.components.media import Image
from PIL import Image as Picture


def draw(path: str, shade: int) -> str:
    file = Path(path).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("RGB", (8, 16), (shade, 0, 0)).save(file)
    return str(file)


def written(folder: str) -> list[str]:
    return sorted(file.stem for file in Path(folder, "bounding_box_train").glob("*.jpg"))


names = ["0001_c1s1_000151_01", "0002_c1s1_000151_01", "-1_c4s6_022316_11.jpg", "0000_c4s6_022316_04.jpg"]
for shade, name in enumerate([*names, "1488_c1s6_023021_02.jpg"]):
    draw(f"market/bounding_box_test/{name}.jpg", shade)
read = [item.id.rsplit("/", 1)[-1] for item in Dataset.import_from(str(Path("market").absolute()), "market1501")]
print("1.", sorted(read))
assert sorted(read) == [".jpg", "0001_c1s1_000151_01", "0002_c1s1_000151_01"]

known = {"person_id": "0001", "camera_id": 0}
crops = [
    DatasetItem(id=f"{n}", subset="train", media=Image.from_file(path=draw(f"crops/{n}.jpg", n)), attributes=known)
    for n in range(3)
]
Dataset.from_iterable(crops, media_type=Image).export("crops_written", "market1501", save_media=True)
listed = Path("crops_written/images_train.txt").read_text().split()
print("2.", written("crops_written"), len(listed), len(set(listed)))
assert written("crops_written") == ["0001_c1s1_000000_00"]
assert (len(listed), len(set(listed))) == (3, 1)

for shade, name in enumerate(("0001C1T0001F001", "0001C2T0001F002")):
    draw(f"mars/bbox_train/0001/{name}.jpg", shade)
Dataset.import_from(str(Path("mars").absolute()), "mars").export("mars_written", "market1501", save_media=True)
print("3.", written("mars_written"), "relative:", len(Dataset.import_from("mars", "mars")))
assert written("mars_written") == ["0001_c2s1_000001_00", "0001_c3s1_000002_00"]
assert len(Dataset.import_from("mars", "mars")) == 0

rows = [(1, 17), (1, 5), (2, 5), (2, 0), (3, 17)]
Path("mot/gt").mkdir(parents=True)
Path("mot/gt/gt.txt").write_text("".join(f"{frame},{track},10,10,20,40,1,1,1\n" for frame, track in rows))
Dataset.import_from("mot", "mot_seq").export("mot_written", "mot_seq_gt")
again = [tuple(map(int, row.split(",")[:2])) for row in Path("mot_written/gt/gt.txt").read_text().splitlines()]
print("4.", again)
assert again == [(1, 1), (1, 2), (2, 2), (2, -1), (3, 1)]
PYTHON
