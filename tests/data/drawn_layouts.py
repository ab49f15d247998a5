"""A tiny example of every row of the table of layouts, as the data sets' own lists and loaders name their files.

Each file is a line: its path below the root and what it must be read as. A file without labels is there and must not
be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from scipy.io import savemat


@dataclass(frozen=True)
class Drawn:
    """files: path -> (split, pid, camid[, track[, clothes]]), or None for one that is not read; lists: texts;
    matrices: .mat files, their matrices by name.

    The split "query+gallery" is both.
    """

    files: dict[str, tuple | None]
    lists: dict[str, str] = field(default_factory=dict)
    matrices: dict[str, dict[str, list]] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        for name in self.files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for name, text in self.lists.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        for name, matrices in self.matrices.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            savemat(root / name, matrices)
        return root

    def of(self, split: str) -> list[tuple]:
        """(path, pid, camid, track, clothes) of a split, by path."""
        found = [(name, *told[1:]) for name, told in self.files.items() if told and split in told[0].split("+")]
        return sorted((*row, *[None] * (5 - len(row))) for row in found)


def boxes(form: str, ending: str, inside: str = "") -> Drawn:
    """Market-1501's folders; `form` takes a pid and a camera."""
    return Drawn(
        {
            f"{inside}bounding_box_train/{form.format(2, 1)}{ending}": ("train", 2, 1),
            f"{inside}bounding_box_train/{form.format(2, 2)}{ending}": ("train", 2, 2),
            f"{inside}query/{form.format(1, 1)}{ending}": ("query", 1, 1),
            f"{inside}bounding_box_test/{form.format(1, 2)}{ending}": ("gallery", 1, 2),
        }
    )


def probes(query: str, gallery: str, form: str) -> Drawn:
    return Drawn(
        {
            **{f"{query}/{form.format(pid)}": ("query", pid, 0) for pid in (1, 60)},
            **{f"{gallery}/{form.format(pid)}": ("gallery", pid, 1) for pid in (1, 60)},
        }
    )


MARKET = boxes("{:04d}_c{}s1_000451", "_03.jpg")
MARKET.files.update(
    {
        "bounding_box_test/-1_c1s1_000401_03.jpg": None,
        "bounding_box_test/0000_c1s1_000151_01.jpg": ("gallery", 0, 1),
        "bounding_box_test/Thumbs.db": None,
    }
)

MSMT = Drawn(
    {
        "mask_train_v2/0000/0000_001_01_0303morning_0016_1.jpg": ("train", 0, 1),
        "mask_train_v2/0000/0000_003_07_0303morning_0007_2_ex.jpg": ("train", 0, 7),
        "mask_train_v2/0000/0000_013_04_0303morning_0020_2.jpg": ("train", 0, 4),
        "mask_test_v2/0000/0000_000_01_0303morning_0015_0.jpg": ("query", 0, 1),
        "mask_test_v2/0000/0000_004_15_0303noon_0007_2.jpg": ("gallery", 0, 15),
    },
    {
        "list_train.txt": "0000/0000_001_01_0303morning_0016_1.jpg 0\n0000/0000_003_07_0303morning_0007_2_ex.jpg 0\n",
        "list_val.txt": "0000/0000_013_04_0303morning_0020_2.jpg 0\n",
        "list_query.txt": "0000/0000_000_01_0303morning_0015_0.jpg 0\n",
        "list_gallery.txt": "0000/0000_004_15_0303noon_0007_2.jpg 0\n",
    },
)


def prcc(asking: str) -> Drawn:
    """Cameras A and B show the same clothes, C others."""
    camera = {"A": 1, "B": 2, "C": 3}
    other = "B" if asking == "C" else "C"
    return Drawn(
        {
            "rgb/train/001/A_cropped_rgb001.jpg": ("train", 1, 1),
            "rgb/train/001/C_cropped_rgb002.jpg": ("train", 1, 3),
            f"rgb/test/{asking}/101/cropped_rgb001.jpg": ("query", 101, camera[asking], None, "12"[asking == "C"]),
            "rgb/test/A/101/cropped_rgb002.jpg": ("gallery", 101, 1, None, "1"),
            f"rgb/test/{other}/101/cropped_rgb003.jpg": None,
        }
    )


def scenes(train: str, query: str = "", gallery: str = "") -> Drawn:
    """Cameras count within a scene; both orders go round."""
    splits = {train: "train", query: "query", gallery: "gallery"}
    files: dict[str, tuple | None] = {}
    for folder, split in splits.items():
        if folder:
            files[f"{folder}/000000_s00_c01_f000264.jpg"] = (split, 0, 1)
            files[f"{folder}/000000_c01_s02_f000265.jpg"] = (split, 0, 2001)
    return Drawn(files)


def single(folder: str) -> Drawn:
    return Drawn(
        {
            f"{folder}/cam_a/person_0001.png": ("query", 1, 1),
            f"{folder}/cam_a/person_0200.png": ("query", 200, 1),
            f"{folder}/cam_a/person_0201.png": None,
            f"{folder}/cam_b/person_0001.png": ("gallery", 1, 2),
            f"{folder}/cam_b/person_0201.png": ("gallery", 201, 2),
        }
    )


def raw_cuhk03(boxes: str) -> Drawn:
    return Drawn(
        {
            f"images_{boxes}/1_001_1_01.png": ("query", 1001, 1),
            f"images_{boxes}/5_001_1_02.png": ("query", 5001, 1),
            f"images_{boxes}/1_001_2_06.png": ("gallery", 1001, 2),
        }
    )


DRAWN: dict[str, Drawn] = {
    "market1501": MARKET,
    "dukemtmc-reid": boxes("{:04d}_c{}", "_f0046182.jpg"),
    "occluded-dukemtmc": boxes("{:04d}_c{}", "_f0046182.jpg"),
    "msmt17": MSMT,
    "cuhk03-np-labeled": boxes("{:04d}_c{}", "_33.png", "labeled/"),
    "cuhk03-np-detected": boxes("{:04d}_c{}", "_33.png", "detected/"),
    "partial-reid": probes("partial_body_images", "whole_body_images", "{:03d}_001.jpg"),
    "partial-reid-occluded": probes("occluded_body_images", "whole_body_images", "{:03d}_001.jpg"),
    "partial-ilids": probes("Probe", "Gallery", "{:03d}.jpg"),
    "occluded-reid": probes("occluded_body_images", "whole_body_images", "{0:03d}/{0:03d}_01.tif"),
    "p-ethz": probes("occluded_body_images", "whole_body_images", "{0:03d}/{0:03d}_01.png"),
    "p-dukemtmc-reid": Drawn(
        {
            "train/occluded_body_images/0001/0001_c1_f001.jpg": ("train", 1, 1),
            "train/whole_body_images/0001/0001_c2_f001.jpg": ("train", 1, 2),
            "test/occluded_body_images/0011/0011_c1_f001.jpg": ("query", 11, 1),
            "test/whole_body_images/0011/0011_c1_f002.jpg": ("gallery", 11, 1),
        }
    ),
    "mars": Drawn(
        {
            "bbox_train/0001/0001C1T0001F001.jpg": ("train", 1, 1, "0001"),
            "bbox_test/0002/0002C1T0001F001.jpg": ("query", 2, 1, "0001"),
            "bbox_test/0002/0002C1T0001F002.jpg": ("query", 2, 1, "0001"),
            "bbox_test/0002/0002C3T0002F001.jpg": ("gallery", 2, 3, "0002"),
            "bbox_test/0002/0002C3T0002F002.jpg": ("gallery", 2, 3, "0002"),
            "bbox_test/0000/0000C1T0001F001.jpg": ("gallery", 0, 1, "0001"),
            "bbox_test/00-1/00-1C1T0001F001.jpg": None,
        },
        {
            "info/test_name.txt": "00-1C1T0001F001.jpg\n0000C1T0001F001.jpg\n0002C1T0001F001.jpg\n"
            "0002C1T0001F002.jpg\n0002C3T0002F001.jpg\n0002C3T0002F002.jpg\n"
        },
        {
            "info/tracks_test_info.mat": {"track_test_info": [[1, 1, -1, 1], [2, 2, 0, 1], [3, 4, 2, 1], [5, 6, 2, 3]]},
            "info/query_IDX.mat": {"query_IDX": [3]},
        },
    ),
    "dukemtmc-videoreid": Drawn(
        {
            "train/0001/0001/0001_C1_F0001_X30823.jpg": ("train", 1, 1, "0001"),
            "query/0003/0002/0003_C6_F0001_X30823.jpg": ("query", 3, 6, "0002"),
            "gallery/0003/0003/0003C8F0099X30823.jpg": ("gallery", 3, 8, "0003"),
        }
    ),
    "ltcc": Drawn(
        {
            "train/001_1_c11_015833.png": ("train", 1, 11, None, "1"),
            "query/003_2_c1_015834.png": ("query", 3, 1, None, "2"),
            "test/003_1_c2_015835.png": ("gallery", 3, 2, None, "1"),
        }
    ),
    "prcc": prcc("C"),
    "prcc-same": prcc("B"),
    "vc-clothes": Drawn(
        {
            "train/0001-02-01-07.jpg": ("train", 1, 2, None, "01"),
            "query/0003-03-02-08.jpg": ("query", 3, 3, None, "02"),
            "gallery/0003-04-01-09.jpg": ("gallery", 3, 4, None, "01"),
        }
    ),
    **{
        f"vc-clothes-{name}": Drawn(
            {
                "train/0001-02-01-07.jpg": ("train", 1, 2, None, "01"),
                **{
                    f"{split}/0003-{camera:02d}-{clothes}-08.jpg": (split, 3, camera, None, clothes)
                    if camera in cameras
                    else None
                    for split in ("query", "gallery")
                    for camera, clothes in ((1, "01"), (2, "01"), (3, "01"), (4, "02"))
                },
            }
        )
        for name, cameras in (("same", (2, 3)), ("changed", (3, 4)))
    },
    "ccvid": Drawn(
        {
            "session1/001_01/00001.jpg": ("train", 1, 1, "session1/001_01", "u0_l0_s0"),
            "session1/002_03/00001.jpg": ("query", 2, 3, "session1/002_03", "u0_l0_s0"),
            "session3/002_03/00001.jpg": ("gallery", 2, 3003, "session3/002_03", "u1_l0_s0"),
        },
        {
            "train.txt": "session1/001_01\t001\tu0_l0_s0\n",
            "query.txt": "session1/002_03\t002\tu0_l0_s0\n",
            "gallery.txt": "session3/002_03\t002\tu1_l0_s0\n",
        },
    ),
    "celeb-reid": Drawn(
        {
            "train/1_2_0.jpg": ("train", 1, None),
            "query/3_1_0.jpg": ("query", 3, None),
            "gallery/3_2_0.jpg": ("gallery", 3, None),
        }
    ),
    "last": Drawn(
        {
            "train/000001/000001_001_2.jpg": ("train", 1, None, None, "2"),
            "test/query/000006_004.jpg": ("query", 6, None),
            "test/gallery/000006/000006_001.jpg": ("gallery", 6, None),
        }
    ),
    "deepchange": Drawn(
        {
            "train-set/P0001_C16_A1_000001.jpg": ("train", 1, 16, "7", "A1"),
            "test-set-query/P0002_C01_A2_000001.jpg": ("query", 2, 1, "8", "A2"),
            "test-set-gallery/P0002_C01_A3_000002.jpg": ("gallery", 2, 1, "9", "A3"),
        },
        {
            "train-set-bbox.txt": "P0001_C16_A1_000001.jpg,7,10,20,30,40\n",
            "test-set-query-bbox.txt": "P0002_C01_A2_000001.jpg,8\n",
            "test-set-gallery-bbox.txt": "P0002_C01_A3_000002.jpg,9\n",
        },
    ),
    "entire-id": Drawn(
        {
            "query/00009_c021s0_760487.jpg": ("query", 9, 21),
            "bounding_box_test/00009_c029s0_760488.jpg": ("gallery", 9, 29),
        }
    ),
    "personx": boxes("{:04d}_c{}s1", "_33.jpg"),
    "randperson": scenes("subset"),
    "clonedperson": scenes("train", "test/query", "test/gallery"),
    "ilids-vid": Drawn(
        {
            "sequences/cam1/person001/cam1_person001_00317.png": ("query", 1, 1),
            "sequences/cam2/person001/cam2_person001_00318.png": ("gallery", 1, 2),
        }
    ),
    "ilids": Drawn({"Persons/0001001.jpg": ("gallery", 1, None), "Persons/0119003.jpg": ("gallery", 119, None)}),
    "prid2011": Drawn(
        {
            "multi_shot/cam_a/person_0001/0001.png": ("query", 1, 1),
            "multi_shot/cam_a/person_0201/0001.png": None,
            "multi_shot/cam_b/person_0001/0001.png": ("gallery", 1, 2),
            "multi_shot/cam_b/person_0201/0001.png": ("gallery", 201, 2),
        }
    ),
    "prid2011-single": single("single_shot"),
    "grid": Drawn(
        {
            "probe/0001_1_25004_107_32_106_221.jpeg": ("query", 1, 1),
            "gallery/0001_2_25023_116_134_128_330.jpeg": ("gallery", 1, 2),
            "gallery/0000_3_30001_1_2_3_4.jpeg": ("gallery", 0, 3),
        }
    ),
    "sensereid": Drawn({"test_probe/00000_0.jpg": ("query", 0, 0), "test_gallery/00000_1.jpg": ("gallery", 0, 1)}),
    "cuhk01": Drawn(
        {
            "campus/0004001.png": ("query", 4, 1),
            "campus/0004002.png": ("query", 4, 1),
            "campus/0004003.png": ("gallery", 4, 2),
        }
    ),
    "cuhk01-486": Drawn(
        {
            **{
                f"campus/{pid:04d}00{image}.png": ("train" if pid <= 485 else asks, pid, camid)
                for pid in (1, 299, 479, 485, 486, 490, 971)
                for image, camid, asks in ((1, 1, "query"), (2, 1, "query"), (3, 2, "gallery"), (4, 2, "gallery"))
            },
        }
    ),
    **{
        name: Drawn(
            {
                f"{each}/{folder}/{pid:04d}_{image}.jpg": row
                for each in ("labeled", "detected")
                for folder, pid, of in (("train", 742, ("train", "train")), ("val", 0, ("query", "gallery")))
                for image, camid in (("00", 1), ("04", 1), ("05", 2), ("09", 2))
                for row in [(of[camid - 1], pid + (10_000 if folder == "val" else 0), camid)]
                if each in (train if folder == "train" else train[:1])
            }
        )
        for name, train in (("cuhk03", ("labeled", "detected")), ("cuhk03-detected", ("detected",)))
    },
    "pku-reid": Drawn(
        {
            "train/001/01_1.png": ("query+gallery", 1, 1),
            "train/001/02_8.png": ("query+gallery", 1, 2),
            "val/all_imgs/004/02_3.png": ("query+gallery", 4, 2),
            "val/query/004/02_3.png": None,
        }
    ),
    "cuhk02": Drawn(
        {
            "P1/cam1/001_001.png": ("train", 1001, 1001),
            "P2/cam2/001_001.png": ("train", 2001, 2002),
            "P3/cam1/001_001.png": ("train", 3001, 3001),
            "P3/cam2/001_001.png": ("train", 3001, 3002),
            "P4/cam1/001_001.png": ("train", 4001, 4001),
            "P4/cam2/001_001.png": ("train", 4001, 4002),
            "P1/cam2/001_001.png": ("train", 1001, 1002),
            "P2/cam1/001_001.png": ("train", 2001, 2001),
            "P5/cam1/001_001.png": ("query", 5001, 5001),
            "P5/cam2/001_001.png": ("gallery", 5001, 5002),
        }
    ),
    "cuhk03-raw-labeled": raw_cuhk03("labeled"),
    "cuhk03-raw-detected": raw_cuhk03("detected"),
    "viper": Drawn({"cam_a/000_45.bmp": ("query", 0, 1), "cam_b/000_90.bmp": ("gallery", 0, 2)}),
    **{
        name: Drawn(
            {
                "cam1/0001/0001.jpg": ("gallery", 1, 1),
                "cam1/0002/0001.jpg": ("train", 2, 1),
                "cam2/0001/0001.jpg": ("gallery", 1, 2),
                "cam3/0001/0001.jpg": ("query", 1, 3),
                "cam3/0002/0001.jpg": ("train", 2, 3),
                "cam4/0001/0001.jpg": outdoor,
                "cam6/0003/0001.jpg": ("train", 3, 6),
            },
            {"exp/train_id.txt": "2\n", "exp/val_id.txt": "3", "exp/test_id.txt": "1,7"},
        )
        for name, outdoor in (("sysu-mm01", ("gallery", 1, 4)), ("sysu-mm01-indoor", None))
    },
    "veri": Drawn(
        {
            "image_train/0002_c002_00030600_0.jpg": ("train", 2, 2),
            "image_query/0005_c003_00077625_0.jpg": ("query", 5, 3),
            "image_test/0005_c020_00077630_1.jpg": ("gallery", 5, 20),
        }
    ),
    "occluded-posetrack": Drawn(
        {
            "train/12_c3_000045.jpg": ("train", 12, 3),
            "query/13_c4_000046.jpg": ("query", 13, 4),
            "gallery/13_c4_000047.jpg": ("gallery", 13, 4),
        }
    ),
    "ultralytics-crops": Drawn(
        {"crops/person/street.jpg": ("gallery", None, None), "crops/person/street-2.jpg": ("gallery", None, None)}
    ),
}
