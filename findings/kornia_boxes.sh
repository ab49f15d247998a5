#!/bin/sh
# kornia 0.9.0 moves boxes with a picture by two rules at once, so the same box ends elsewhere by how it was given.
# 1. Flips and turns of a box as left, top, right, bottom ("bbox_xyxy") take right for the last pixel of the box, so it ends
#    a pixel beside what it held. Given as left, top, width, height ("bbox_xywh") it is right, and so is it by
#    torchvision's v2 transforms. kornia's own Boxes.to_mask takes right for the first pixel behind the box.
# 2. kornia.augmentation.Resize lays corner pixel on corner pixel (align_corners), with boxes too: 20 becomes 40.2 at twice
#    the size. kornia.geometry.resize of the same picture does not, by its defaults: the two resizes differ by a pixel.
# 3. The area of a box of 20 x 20 pixels (Boxes.compute_area) is 361; its mask has 400.
# Seen, box 0 to 10 of a picture 100 wide, flipped: white pixels 90 to 99; xyxy 89 to 99; xywh 90, 10 wide. Box 20 to 40 at
# twice the size: 40.2 to 80.4. First pixels of a ramp 0, 1, 2 ... at half the size: 0, 2.02 and 0.5, 2.5.
# Runs kornia==0.9.0 torch==2.13.0 numpy==2.4.6 in a temporary folder, without vpmsearch; exits non-zero when it behaves
# otherwise.
set -eu
T=$(mktemp -d) && trap 'rm -rf "$T"' EXIT
python3 -m venv --without-pip "$T/venv"
python3 -m pip --python "$T/venv/bin/python" install --quiet --no-compile --disable-pip-version-check \
    kornia==0.9.0 torch==2.13.0 numpy==2.4.6
cd "$T" && "$T/venv/bin/python" - <<'PYTHON'
import torch
from kornia import augmentation, geometry
from kornia.geometry.boxes import Boxes

picture = torch.zeros(1, 1, 50, 100)
picture[..., 10:30, 0:10] = 1


def moved(how, kind: str, box: list[float]) -> list[float]:
    both = augmentation.AugmentationSequential(how, data_keys=["input", kind])
    return [round(value, 1) for value in both(picture, torch.tensor([[box]]))[1][0, 0].tolist()]


flip = augmentation.RandomHorizontalFlip(p=1.0)
white = flip(picture)[0, 0].nonzero()[:, 1]
flipped = {
    "white": (int(white.min()), int(white.max())),
    "bbox_xyxy": moved(flip, "bbox_xyxy", [0.0, 10, 10, 30]),
    "bbox_xywh": moved(flip, "bbox_xywh", [0.0, 10, 10, 20]),
}
print("flipped:", flipped)
assert flipped == {"white": (90, 99), "bbox_xyxy": [89, 10, 99, 30], "bbox_xywh": [90, 10, 10, 20]}

upright = augmentation.RandomVerticalFlip(p=1.0)
print("upside down:", moved(upright, "bbox_xyxy", [0.0, 10, 10, 30]), moved(upright, "bbox_xywh", [0.0, 10, 10, 20]))
assert moved(upright, "bbox_xyxy", [0.0, 10, 10, 30]) == [0, 19, 10, 39]
assert moved(upright, "bbox_xywh", [0.0, 10, 10, 20]) == [0, 20, 10, 20]

twice = moved(augmentation.Resize((100, 200)), "bbox_xyxy", [20.0, 10, 40, 30])
ramp = torch.arange(100.0).repeat(50, 1)[None, None]
half = [
    [round(value, 2) for value in resized[0, 0, 0, :2].tolist()]
    for resized in (augmentation.Resize((25, 50))(ramp), geometry.resize(ramp, (25, 50)))
]
print("twice as large:", twice, "half a ramp:", half)
assert twice == [40.2, 20.2, 80.4, 60.6]
assert half == [[0, 2.02], [0.5, 2.5]]

square = Boxes.from_tensor(torch.tensor([[[20.0, 10, 40, 30]]]), mode="xyxy")
print("area:", float(square.compute_area()), "pixels:", float(square.to_mask(50, 100).sum()))
assert (float(square.compute_area()), float(square.to_mask(50, 100).sum())) == (361, 400)
PYTHON
