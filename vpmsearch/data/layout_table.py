"""The table of layouts: a row for each public data set that can be read by name.

The readers, the help of `--dataset` and docs/datasets.md follow from the rows. To add a data set, add a row here and a
drawn example in tests/data/drawn_layouts.py. `vpmsearch.data.layout` says what a row's fields mean.
"""

from __future__ import annotations

from collections.abc import Mapping

from vpmsearch.data.labelled import Protocol
from vpmsearch.data.layout import Halves, Layout, Listing, Part, Parts, Tracklets, Variant

_PID_FOLDER = r"(?:(?P<again>[^/]*)/)?"  # the folder around a file, often the identity's
_PROBE_NAME = rf"{_PID_FOLDER}(?P<pid>\d{{1,18}})(?!\d)"
_SCENE_NAME = r"(?P<pid>\d+)_(?=(?:c\d+_)?s(?P<scene>\d+))(?=(?:s\d+_)?c(?P<camid>\d+))"
_DUKE_NAME = r"(?P<pid>\d{4,})_c(?P<camid>\d{1,3})_f\d+"
_ZHENG_ICCV15 = "Zheng et al., Partial Person Re-identification, ICCV 2015"
_ZHUO = "Zhuo et al., Occluded Person Re-identification, ICME 2018"
_TORCHREID = "its loader in torchreid"
_CAL = "its loader in Simple-CCReID"

NOTHING = Protocol("nothing")
TRACKS = Protocol(by_track=True)
TRACKS_NOTHING = Protocol("nothing", by_track=True)


def _boxes(inside: str = "") -> Variant:
    """Market-1501's folders."""
    return Variant(
        (Part(f"{inside}bounding_box_train"),), (Part(f"{inside}query"),), (Part(f"{inside}bounding_box_test"),)
    )


def _splits(train: str, query: str, gallery: str) -> Variant:
    return Variant((Part(train),), (Part(query),), (Part(gallery),))


def _probes(*folders: tuple[str, str]) -> tuple[Variant, ...]:
    """A query and a gallery folder without cameras: the queries are camera 0, the gallery 1."""
    return tuple(
        Variant(query=(Part(query, labels={"camid": "0"}),), gallery=(Part(gallery, labels={"camid": "1"}),))
        for query, gallery in (*folders, ("query", "gallery"))
    )


def _cameras(query: str, gallery: str, **labels: str) -> Variant:
    """The images of one camera are the queries, those of the other the gallery."""
    return Variant(
        query=(Part(query, labels={"camid": "1", **labels}),), gallery=(Part(gallery, labels={"camid": "2", **labels}),)
    )


def _msmt(train: str, test: str) -> Variant:
    line = r"(?P<path>\S(?:.*\S)?) +(?P<pid>-?\d{1,18})"

    def listed(folder: str, name: str) -> Part:
        return Part(folder, listing=Listing(f"list_{name}.txt", line))

    return Variant((listed(train, "train"), listed(train, "val")), (listed(test, "query"),), (listed(test, "gallery"),))


_TO_485 = r"0(?:[0-3]\d\d|4[0-7]\d|48[0-5])"
"""The numbers to 0485."""


def _cuhk03(folder: str, labels: Mapping[str, str] | None = None) -> Parts:
    """A person has ten images, as in cuhk-03.mat: the first five are of camera 1, the others of camera 2."""
    return tuple(
        Part(folder, rf"(?P<pid>\d{{4}})_{images}", {"camid": camid, **(labels or {})})
        for camid, images in (("1", "0[0-4]"), ("2", "0[5-9]"))
    )


def _mars(*, asks: bool) -> Part:
    info = Tracklets("info/test_name.txt", "info/tracks_test_info.mat", "info/query_IDX.mat", asks)
    return Part("bbox_test", tracklets=info)


def _prcc(queries: str) -> Variant:
    def test(camera: str) -> Part:
        labels = {"camid": camera, "clothes": "2" if camera == "C" else "1"}
        return Part(f"rgb/test/{camera}", r"(?P<pid>\d+)/cropped_rgb\d+", labels)

    return Variant((Part("rgb/train"),), (test(queries),), (test("A"),))


def _vc_clothes(cameras: str) -> Variant:
    pattern = rf"(?P<pid>\d+)-(?P<camid>0*[{cameras}])-(?P<clothes>\d+)-\d+"
    others = r"\d+-\d+-\d+-\d+"
    return Variant((Part("train"),), (Part("query", pattern, skips=others),), (Part("gallery", pattern, skips=others),))


def _cuhk02(pairs: str, *cameras: str) -> Parts:
    return tuple(
        Part(f"P{pair}/cam{camera}", labels={"group": pair, "scene": pair, "camid": camera})
        for pair in pairs
        for camera in cameras
    )


def _sysu(cameras: str, pids: str, *, needed: bool = False) -> Parts:
    return tuple(
        Part(
            f"cam{camera}",
            labels={"camid": camera, "place": "2" if camera == "3" else camera},
            pids=f"exp/{pids}_id.txt",
            needs_pids=needed,
            optional=place > 0,
        )
        for place, camera in enumerate(cameras)
    )


def _listed(folder: str, name: str, line: str) -> Parts:
    return (Part(folder, listing=Listing(name, line)),)


_TRACK_LINE = r"(?P<path>[^,]+),\s*(?P<track>\d+).*"
_CLIP_LINE = r"(?P<path>\S+)\s+(?P<pid>\d+)\s+(?P<clothes>\S+)"

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "market1501",
        "Market-1501",
        r"(?P<pid>-?\d{1,18})_c(?P<camid>\d{1,18})",
        (_boxes(),),
        "0002_c1s1_000451_03.jpg",
        "pid, camera and sequence, frame, box; pid −1 is junk, 0 a distractor",
        "Zheng et al., Scalable Person Re-identification, ICCV 2015",
        roots=("Market-1501-v15.09.15", "Market-1501", "market1501"),
        distractors=frozenset({0}),
        note="Whatever lies and is named so can be read by it. CVAT's and Datumaro's export of this name too: its "
        "numbers are not padded and its frame is always 0, so images of one person and camera overwrote each other "
        "before anybody could read them. 24 images of Market-1501 are called `….jpg.jpg` and read like any other; "
        "Datumaro's reader keeps one of them in each folder, and its conversion of MARS adds 1 to each camera "
        "(`findings/datumaro_reid.sh`).",
    ),
    Layout(
        "dukemtmc-reid",
        "DukeMTMC-reID",
        _DUKE_NAME,
        (_boxes(),),
        "0001_c2_f0046182.jpg",
        "pid, camera (1-8), frame",
        "Zheng et al., Unlabeled Samples Generated by GAN, ICCV 2017",
        roots=("DukeMTMC-reID",),
    ),
    Layout(
        "occluded-dukemtmc",
        "Occluded-DukeMTMC",
        _DUKE_NAME,
        (_boxes(),),
        "0001_c2_f0046182.jpg",
        "pid, camera (1-8), frame",
        "Miao et al., Pose-Guided Feature Alignment, ICCV 2019; its lists",
        roots=("Occluded_Duke", "Occluded-DukeMTMC"),
        note="1,870 of the 2,210 queries are files of the gallery too.",
    ),
    Layout(
        "msmt17",
        "MSMT17, versions 1 and 2",
        r"\d+_\d+_(?P<camid>\d{1,18})_",
        (_msmt("mask_train_v2", "mask_test_v2"), _msmt("train", "test")),
        "0000/0000_001_01_0303morning_0016_1.jpg",
        "pid (the list's counts), image, camera (01-15), date and time of day, frame, box; pid 0 is a person",
        "Wei et al., Person Transfer GAN, CVPR 2018; its lists",
        roots=("MSMT17_V2", "MSMT17_V1", "MSMT17"),
        note="The training split is list_train and list_val together, 32,621 images of the same 1,041 people, as in "
        "the paper; some train on list_train alone, 30,248. Test identities are numbered from 0 again: they are other "
        "people. Names that end in _ex, 42 % of them, are near-duplicates of one without.",
    ),
    *(
        Layout(
            f"cuhk03-np-{boxes}",
            f"CUHK03, new protocol, {boxes} boxes",
            r"(?P<pid>\d{4})_c(?P<camid>[12])_\d+",
            (_boxes(f"{boxes}/"),),
            "0001_c1_1.png",
            "pid, camera (1, 2), image",
            "Zhong et al., Re-ranking with k-reciprocal Encoding, CVPR 2017",
            roots=("cuhk03-np", "CUHK03-NP"),
        )
        for boxes in ("labeled", "detected")
    ),
    Layout(
        "partial-reid",
        "Partial-REID, partial queries",
        _PROBE_NAME,
        _probes(("partial_body_images", "whole_body_images")),
        "001_001.jpg",
        "pid, image; no cameras",
        _ZHENG_ICCV15,
        roots=("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
        protocol=NOTHING,
        note="The paper's queries; some loaders take the occluded ones, which are not equally hard.",
    ),
    Layout(
        "partial-reid-occluded",
        "Partial-REID, occluded queries",
        _PROBE_NAME,
        _probes(("occluded_body_images", "whole_body_images")),
        "001_001.jpg",
        "pid, image; no cameras",
        _ZHENG_ICCV15,
        roots=("Partial-REID_Dataset", "Partial_REID", "Partial-REID", "PartialREID"),
        protocol=NOTHING,
    ),
    Layout(
        "partial-ilids",
        "Partial-iLIDS",
        _PROBE_NAME,
        _probes(
            ("Probe", "Gallery"),
            ("partial_body_images", "whole_body_images"),
            ("occluded_body_images", "whole_body_images"),
        ),
        "001.jpg",
        "pid; no cameras",
        "Zheng et al., Person Re-identification by Probabilistic Relative Distance Comparison, CVPR 2011",
        roots=("Partial_iLIDS", "Partial-iLIDS", "PartialiLIDS", "PartialILIDS"),
        protocol=NOTHING,
    ),
    Layout(
        "occluded-reid",
        "Occluded-REID",
        _PROBE_NAME,
        _probes(("occluded_body_images", "whole_body_images")),
        "001/001_01.tif",
        "pid, image; no cameras",
        _ZHUO,
        roots=("Occluded_REID", "Occluded-REID", "OccludedREID"),
        protocol=NOTHING,
    ),
    Layout(
        "p-ethz",
        "P-ETHZ",
        _PROBE_NAME,
        _probes(("occluded_body_images", "whole_body_images")),
        "001/001_01.png",
        "pid, image; no cameras",
        f"{_ZHUO}; its loader in BPBReID",
        roots=("P_ETHZ", "P-ETHZ", "PETHZ"),
        protocol=NOTHING,
    ),
    Layout(
        "p-dukemtmc-reid",
        "P-DukeMTMC-reID",
        rf"{_PID_FOLDER}(?P<pid>\d+)_c(?P<camid>\d+)_f",
        (
            Variant(
                (Part("train/occluded_body_images"), Part("train/whole_body_images")),
                (Part("test/occluded_body_images"),),
                (Part("test/whole_body_images"),),
            ),
        ),
        "0001/0001_c1_f0046182.jpg",
        "pid, camera, frame",
        f"{_ZHUO}; its loader in torchreid's form",
        roots=("P-DukeMTMC-reid", "P-DukeMTMC-reID"),
        protocol=NOTHING,
        note="Its loaders take no camera from the names: queries are camera 0, the gallery is 1.",
    ),
    Layout(
        "mars",
        "MARS",
        r"(?P<pid>\d{4}|00-1)C(?P<camid>\d)T(?P<track>\d{4})F\d+",
        (
            Variant((Part("bbox_train"),), (_mars(asks=True),), (_mars(asks=False),)),
            Variant((Part("bbox_train"),), (), (Part("bbox_test"),)),
        ),
        "0001/0001C1T0001F001.jpg",
        "pid, camera after C, tracklet after T, frame after F; folder 00-1 is junk, 0000 are distractors",
        f"Zheng et al., MARS, ECCV 2016; {_TORCHREID}",
        roots=("MARS", "mars"),
        protocol=TRACKS,
        distractors=frozenset({0}),
        note="Which tracklets ask stands in info/query_IDX.mat alone, of the authors' evaluation code; .mat files need "
        "`vpmsearch[mat]` (scipy). Without `info` all of bbox_test is the gallery and there are no queries.",
    ),
    Layout(
        "dukemtmc-videoreid",
        "DukeMTMC-VideoReID",
        r"(?P<pid>\d{4})/(?P<track>\d+)/\d{4}_?[Cc](?P<camid>\d)_?F\d+",
        (_splits("train", "query", "gallery"),),
        "0001/0001/0001_C1_F0099_X30823.jpg",
        "pid, camera after C (1-8), frame; the folder below the pid's is the tracklet",
        f"Wu et al., Exploit the Unknown Gradually, CVPR 2018; {_TORCHREID}",
        roots=("DukeMTMC-VideoReID",),
        protocol=TRACKS,
    ),
    Layout(
        "ltcc",
        "LTCC",
        r"(?P<pid>\d+)_(?P<clothes>\d+)_c(?P<camid>\d+)_",
        (_splits("train", "query", "test"),),
        "001_1_c11_015833.png",
        "pid, clothes, camera, image",
        f"Qian et al., Long-Term Cloth-Changing Person Re-identification, ACCV 2020; {_CAL}",
        roots=("LTCC_ReID",),
        protocol=Protocol("clothes"),
        note="Its standard protocol is --leave-out camera.",
    ),
    Layout(
        "prcc",
        "PRCC, clothes changed",
        r"(?P<pid>\d+)/(?P<camid>[ABC])_cropped_rgb\d+",
        (_prcc("C"),),
        "001/A_cropped_rgb001.jpg",
        "pid (the folder), camera A, B or C; A and B show the same clothes, C others. Queries are C, the gallery A",
        f"Yang et al., Person Re-identification by Contour Sketch, TPAMI 2021; {_CAL}",
        roots=("prcc", "PRCC"),
        protocol=Protocol("nothing", draws=10),
        note="The draws of its evaluation code depend on the order of the file system; these depend on --seed. "
        "Simple-CCReID ranks the whole gallery instead: index the gallery, or name it in a list (csv).",
    ),
    Layout(
        "prcc-same",
        "PRCC, clothes the same",
        r"(?P<pid>\d+)/(?P<camid>[ABC])_cropped_rgb\d+",
        (_prcc("B"),),
        "001/A_cropped_rgb001.jpg",
        "as prcc; queries are B, the gallery A",
        f"Yang et al., Person Re-identification by Contour Sketch, TPAMI 2021; {_CAL}",
        roots=("prcc", "PRCC"),
        protocol=Protocol("nothing", draws=10),
    ),
    Layout(
        "vc-clothes",
        "VC-Clothes",
        r"(?P<pid>\d+)-(?P<camid>\d+)-(?P<clothes>\d+)-\d+",
        (_splits("train", "query", "gallery"),),
        "0001-02-01-07.jpg",
        "pid, camera, clothes, image",
        f"Wan et al., When Person Re-identification Meets Changing Clothes, CVPRW 2020; {_CAL}",
        roots=("VC-Clothes",),
    ),
    *(
        Layout(
            f"vc-clothes-{name}",
            f"VC-Clothes, {title}",
            r"(?P<pid>\d+)-(?P<camid>\d+)-(?P<clothes>\d+)-\d+",
            (_vc_clothes(cameras),),
            "0001-02-01-07.jpg",
            f"as vc-clothes; only cameras {' and '.join(cameras)} ask and answer",
            f"Wan et al., When Person Re-identification Meets Changing Clothes, CVPRW 2020; {_CAL}",
            roots=("VC-Clothes",),
        )
        for name, title, cameras in (("same", "clothes the same", "23"), ("changed", "clothes changed", "34"))
    ),
    Layout(
        "ccvid",
        "CCVID",
        r"(?P<track>session(?:[12]|(?P<scene>3))/(?P<pid>\d+)_(?P<camid>\d+))/\d+",
        (
            Variant(
                _listed("", "train.txt", _CLIP_LINE),
                _listed("", "query.txt", _CLIP_LINE),
                _listed("", "gallery.txt", _CLIP_LINE),
            ),
        ),
        "session1/001_01/00001.jpg",
        "session, pid and camera (the folder, a tracklet), frame; pid and clothes from the lists. The cameras of "
        "session 3 are others than those of 1 and 2",
        f"Gu et al., Clothes-Changing Person Re-identification, CVPR 2022; {_CAL}",
        roots=("CCVID",),
        protocol=Protocol("clothes", by_track=True),
    ),
    Layout(
        "celeb-reid",
        "Celeb-reID",
        r"(?P<pid>\d+)_\d+_\d+",
        (_splits("train", "query", "gallery"),),
        "1_2_0.jpg",
        "pid, image; no cameras",
        "Huang et al., Celebrities-ReID, IJCNN 2019",
        roots=("Celeb-reID",),
        protocol=NOTHING,
    ),
    Layout(
        "last",
        "LaST",
        r"(?P<pid>\d+)_\d+",
        (
            Variant(
                (Part("train", r"(?P<pid>\d{6})_\d+_(?P<clothes>\d+)"),),
                (Part("test/query"),),
                (Part("test/gallery"),),
            ),
        ),
        "000001/000001_001_1.jpg",
        "pid, image, clothes (in train alone); no cameras",
        f"Shu et al., Large-Scale Spatio-Temporal Person Re-identification, TCSVT 2021; {_CAL}",
        roots=("last", "LaST"),
        protocol=NOTHING,
    ),
    Layout(
        "deepchange",
        "DeepChange",
        r"P(?P<pid>\d+)_C(?P<camid>\d+)_(?P<clothes>[^_.]+)",
        (
            Variant(
                _listed("train-set", "train-set-bbox.txt", _TRACK_LINE),
                _listed("test-set-query", "test-set-query-bbox.txt", _TRACK_LINE),
                _listed("test-set-gallery", "test-set-gallery-bbox.txt", _TRACK_LINE),
            ),
        ),
        "P0001_C16_A1_000001.jpg",
        "pid after P, camera after C, clothes; the tracklet from the lists",
        f"Xu and Zhu, DeepChange, ICCV 2023; {_CAL}",
        roots=("DeepChangeDataset", "DeepChange"),
        protocol=Protocol("track"),
    ),
    Layout(
        "entire-id",
        "ENTIRe-ID",
        r"(?P<pid>\d{5})_c(?P<camid>\d{3})s\d+_",
        (Variant(query=(Part("query"),), gallery=(Part("bounding_box_test"),)),),
        "00009_c021s0_760487.jpg",
        "pid (five digits), camera (three digits), image; there is no training split",
        "Yildiz and Kasim, ENTIRe-ID, FG 2024",
        roots=("ENTIRe-ID",),
    ),
    Layout(
        "personx",
        "PersonX",
        r"(?P<pid>\d{4})_c(?P<camid>\d+)s\d+_\d+",
        (_boxes(),),
        "0001_c1s1_33.jpg",
        "pid, camera and scene, image",
        "Sun and Zheng, Dissecting Person Re-identification, CVPR 2019",
        roots=("PersonX_v1", "PersonX"),
        note="It comes in several subsets side by side; give the folder of one.",
    ),
    Layout(
        "randperson",
        "RandPerson",
        _SCENE_NAME,
        (
            Variant((Part("subset"),)),
            Variant((Part("randperson_subset"),)),
            Variant((Part(""),)),
        ),
        "000001_s00_c00_f000264.jpg",
        "pid, scene, camera, frame, also with the camera before the scene; cameras count within a scene, so camid is "
        "scene · 1000 + camera. pid 0 is a person. There is a training split alone",
        "Wang et al., Surpassing Real-World Source Training Data, ACM MM 2020; its README",
        roots=("randperson_subset", "RandPerson"),
    ),
    Layout(
        "clonedperson",
        "ClonedPerson",
        _SCENE_NAME,
        (_splits("train", "test/query", "test/gallery"),),
        "700000_s02_c00_f000264.jpg",
        "pid, scene, camera, frame; camid is scene · 1000 + camera",
        "Wang et al., Cloning Outfits from Real-World Images, CVPR 2022",
        roots=("clonedperson", "ClonedPerson"),
    ),
    Layout(
        "ilids-vid",
        "iLIDS-VID",
        r"person(?P<pid>\d+)/cam(?P<camid>\d)_person\d+_\d+",
        (Variant(query=(Part("sequences/cam1"),), gallery=(Part("sequences/cam2"),)),),
        "person001/cam1_person001_00317.png",
        "camera, pid, frame; a person and camera are a tracklet. Camera 1 asks, camera 2 answers",
        f"Wang et al., Person Re-identification by Video Ranking, ECCV 2014; {_TORCHREID}",
        roots=("i-LIDS-VID",),
        protocol=TRACKS_NOTHING,
        halves=Halves(files=(("train-test people splits/train_test_splits_ilidsvid.mat", "permutations"),)),
        note="Published figures are means over ten halves of the people: --trial all.",
    ),
    Layout(
        "ilids",
        "QMUL i-LIDS, 119 people",
        r"(?P<pid>\d{4})\d{3}",
        (Variant(gallery=(Part("Persons"),)),),
        "0001001.jpg",
        "pid (four digits), image; no cameras",
        f"Zheng et al., Associating Groups of People, BMVC 2009; {_TORCHREID}",
        roots=("i-LIDS_Pedestrian", "ilids"),
        protocol=NOTHING,
        note="Published figures draw two images of each person of a random half, one to ask and one to answer, which a "
        "list (csv) can name.",
    ),
    Layout(
        "prid2011",
        "PRID 2011, sequences",
        r"person_(?P<pid>\d+)/",
        (
            Variant(
                query=(
                    Part(
                        "multi_shot/cam_a",
                        r"person_(?P<pid>0*(?:1?\d{1,2}|200))/",
                        {"camid": "1"},
                        skips=r"person_\d+/",
                    ),
                ),
                gallery=(Part("multi_shot/cam_b", labels={"camid": "2"}),),
            ),
        ),
        "person_0001/0001.png",
        "pid, frame; a person and camera are a tracklet. Camera a asks, b answers. Only 1 to 200 are people of both: "
        "higher numbers are others in a and in b, so those of a do not ask",
        f"Hirzer et al., SCIA 2011; {_TORCHREID}",
        roots=("prid_2011", "prid2011"),
        protocol=TRACKS_NOTHING,
        halves=Halves(
            files=(
                ("splits_prid2011.json", "people"),
                ("train_test_splits_prid.mat", "permutations"),
                ("train-test people splits/train_test_splits_prid.mat", "permutations"),
            ),
            least=27,
        ),
        note="Published figures are means over ten halves of the 178 people of whom both cameras have 27 images or "
        "more, with a gallery of these alone: --trial all.",
    ),
    Layout(
        "prid2011-single",
        "PRID 2011, single images",
        r"person_(?P<pid>\d+)",
        (
            Variant(
                query=(
                    Part(
                        "single_shot/cam_a",
                        r"person_(?P<pid>0*(?:1?\d{1,2}|200))\.",
                        {"camid": "1"},
                        skips=r"person_\d+",
                    ),
                ),
                gallery=(Part("single_shot/cam_b", labels={"camid": "2"}),),
            ),
        ),
        "person_0001.png",
        "pid; as prid2011",
        f"Hirzer et al., SCIA 2011; {_TORCHREID}",
        roots=("prid_2011", "prid2011"),
        protocol=NOTHING,
        halves=Halves(files=(("splits_single_shot.json", "people"),), others=True),
        note="Published figures are means over ten halves of the 200 people; the 549 others of camera b are in each "
        "gallery: --trial all.",
    ),
    Layout(
        "grid",
        "QMUL GRID",
        r"(?P<pid>\d+)_(?P<camid>\d+)_",
        (Variant(query=(Part("probe"),), gallery=(Part("gallery"),)),),
        "0001_1_25004_107_32_106_221.jpeg",
        "pid, camera (1-8), box; pid 0 are distractors",
        f"Loy et al., Multi-Camera Activity Correlation Analysis, CVPR 2009; {_TORCHREID}",
        roots=("underground_reid", "grid"),
        protocol=NOTHING,
        distractors=frozenset({0}),
        halves=Halves(files=(("features_and_partitions.mat", "training"),), others=True),
        note="Published figures are means over ten halves of the 250 people; the 775 distractors are in each gallery: "
        "--trial all.",
    ),
    Layout(
        "sensereid",
        "SenseReID",
        r"(?P<pid>\d+)_(?P<camid>\d+)",
        (Variant(query=(Part("test_probe"),), gallery=(Part("test_gallery"),)),),
        "00001_0.jpg",
        "pid, camera",
        f"Zhao et al., Spindle Net, CVPR 2017; {_TORCHREID}",
        roots=("SenseReID",),
    ),
    Layout(
        "cuhk01",
        "CUHK01",
        r"(?P<pid>\d{4})\d{3}",
        (
            Variant(
                query=(Part("campus", r"(?P<pid>\d{4})00[12]", {"camid": "1"}),),
                gallery=(Part("campus", r"(?P<pid>\d{4})00[34]", {"camid": "2"}),),
            ),
        ),
        "0001001.png",
        "pid (four digits), image: 1 and 2 are camera 1, 3 and 4 camera 2. Camera 1 asks, camera 2 answers",
        f"Li et al., Human Reidentification with Transferred Metric Learning, ACCV 2012; {_TORCHREID}",
        roots=("CUHK01", "cuhk01"),
        protocol=NOTHING,
        halves=Halves(both=True, files=(("splits.json", "images"),)),
        note="Published figures are means over ten random halves of the people, in both directions: --trial all.",
    ),
    Layout(
        "cuhk01-486",
        "CUHK01, people 486 to 971",
        r"(?P<pid>\d{4})\d{3}",
        (
            Variant(
                train=(
                    Part("campus", rf"(?P<pid>{_TO_485})00[12]", {"camid": "1"}),
                    Part("campus", rf"(?P<pid>{_TO_485})00[34]", {"camid": "2"}),
                ),
                query=(Part("campus", rf"(?P<pid>(?!{_TO_485})\d{{4}})00[12]", {"camid": "1"}),),
                gallery=(Part("campus", rf"(?P<pid>(?!{_TO_485})\d{{4}})00[34]", {"camid": "2"}),),
            ),
        ),
        "0001001.png",
        "as cuhk01; people 1 to 485 train. Camera 1 asks, camera 2 answers",
        f"Li et al., Human Reidentification with Transferred Metric Learning, ACCV 2012; {_TORCHREID}",
        roots=("CUHK01", "cuhk01"),
        protocol=NOTHING,
        note="Half of the people, as usual; the literature draws which: cuhk01 with --trial all.",
    ),
    Layout(
        "cuhk02",
        "CUHK02",
        r"(?P<pid>\d+)_",
        (Variant(_cuhk02("1234", "1", "2"), _cuhk02("5", "1"), _cuhk02("5", "2")),),
        "P1/cam1/001_001.png",
        "camera pair, camera, pid within the pair, image; pid is pair · 1000 + the number, camid pair · 1000 + camera. "
        "Pairs 1 to 4 are for training; of pair 5 camera 1 asks and camera 2 answers",
        f"Li and Wang, Locally Aligned Feature Transforms, CVPR 2013; {_TORCHREID}",
        roots=("Dataset", "CUHK02"),
        protocol=NOTHING,
        note="Its people overlap with CUHK01's.",
    ),
    *(
        Layout(
            name,
            f"CUHK03, camera pair 1, {title}",
            r"(?P<pid>\d{4})_\d{2}",
            (
                Variant(
                    train=tuple(part for each in boxes for part in _cuhk03(f"{each}/train")),
                    query=_cuhk03(f"{boxes[0]}/val", {"group": "10"})[:1],
                    gallery=_cuhk03(f"{boxes[0]}/val", {"group": "10"})[1:],
                ),
            ),
            "0000_00.jpg",
            "pid, image: 00 to 04 are camera 1, 05 to 09 camera 2. `val` numbers other people from 0 again, so 10,000 "
            "is added there. Camera 1 asks, camera 2 answers",
            "Li et al., DeepReID, CVPR 2014; github.com/manideep2510/CUHK03_dataset",
            roots=("CUHK03_dataset", "cuhk03"),
            protocol=NOTHING,
        )
        for name, title, boxes in (
            ("cuhk03", "trained on hand-drawn and detected boxes, tested on hand-drawn ones", ("labeled", "detected")),
            ("cuhk03-detected", "detected boxes", ("detected",)),
        )
    ),
    Layout(
        "pku-reid",
        "PKU-Reid-like, two cameras and eight angles",
        r"(?P<pid>\d+)/(?P<camid>\d+)_\d+",
        (
            Variant(
                query=(Part("train"), Part("val/all_imgs")),
                gallery=(Part("train"), Part("val/all_imgs")),
            ),
        ),
        "001/01_1.png",
        "pid (the folder), camera, angle. Everybody asks and answers, in `train` too",
        "github.com/aditi184/Person_Re-Identification",
        roots=("data",),
    ),
    *(
        Layout(
            f"cuhk03-raw-{boxes}",
            f"CUHK03 as torchreid unpacks it, {boxes} boxes",
            r"(?P<group>\d)_(?P<pid>\d{3})_(?P<camid>[12])_\d{2}",
            (
                Variant(
                    query=(Part(f"images_{boxes}", r"(?P<group>\d)_(?P<pid>\d{3})_(?P<camid>1)_\d{2}"),),
                    gallery=(Part(f"images_{boxes}", r"(?P<group>\d)_(?P<pid>\d{3})_(?P<camid>2)_\d{2}"),),
                ),
            ),
            "1_001_1_01.png",
            "camera pair, pid within the pair, view, image; pid is pair · 1000 + the number. View 1 asks, 2 answers",
            f"Li et al., DeepReID, CVPR 2014; {_TORCHREID}",
            roots=("cuhk03",),
            protocol=Protocol("nothing", draws=10),
            note="All people ask; the 20 splits of the paper hold 100 of them each, which a list (csv) can name.",
        )
        for boxes in ("labeled", "detected")
    ),
    Layout(
        "viper",
        "VIPeR",
        r"(?P<pid>\d+)_",
        (_cameras("cam_a", "cam_b"),),
        "000_45.bmp",
        "pid, angle; pid 0 is a person. Camera a asks, b answers",
        f"Gray and Tao, Viewpoint Invariant Pedestrian Recognition, ECCV 2008; {_TORCHREID}",
        roots=("VIPeR",),
        protocol=NOTHING,
        halves=Halves(both=True, files=(("splits.json", "images"),)),
        note="Published figures are means over ten random halves of the people, in both directions: --trial all.",
    ),
    *(
        Layout(
            name,
            f"SYSU-MM01, {title}",
            r"(?P<pid>\d+)/\d+",
            (
                Variant(
                    (*_sysu("123456", "train", needed=True), *_sysu("123456", "val", needed=True)),
                    _sysu("36", "test"),
                    _sysu(cameras, "test"),
                ),
            ),
            "cam1/0001/0001.jpg",
            f"camera (3 and 6 are infrared), pid, image. Infrared asks, cameras {', '.join(cameras)} answer; "
            "exp/*_id.txt split the people. Cameras 2 and 3 stand at the same place",
            "Wu et al., RGB-Infrared Cross-Modality Person Re-identification, ICCV 2017; its evaluation code",
            roots=("SYSU-MM01",),
            protocol=Protocol("place", draws=10),
            note="Its evaluation code draws one image of each person and camera, where this draws one of each person; "
            "and it leaves out what camera 2 has of all people where camera 3 asks, where this leaves out the same "
            "person's. So published figures are not the same measure.",
        )
        for name, title, cameras in (("sysu-mm01", "all search", "1245"), ("sysu-mm01-indoor", "indoor search", "12"))
    ),
    Layout(
        "veri",
        "VeRi-776 (vehicles)",
        r"(?P<pid>\d{4})_c(?P<camid>\d{3})_",
        (_splits("image_train", "image_query", "image_test"),),
        "0002_c002_00030600_0.jpg",
        "vehicle, camera, frame",
        "Liu et al., Large-Scale Vehicle Re-identification, ICME 2016",
        roots=("VeRi", "VeRi-776", "veri"),
    ),
    Layout(
        "occluded-posetrack",
        "Occluded-PoseTrack-ReID, as others repacked it",
        r"(?P<pid>\d+)_c(?P<camid>\d+)_\d+",
        (_boxes(), _splits("train", "query", "gallery")),
        "12_c3_000045.jpg",
        "pid, video (where others have the camera), frame",
        "Somers et al., Keypoint Promptable Re-identification, ECCV 2024",
        roots=("Occluded-PoseTrack-ReID", "occluded_posetrack"),
        protocol=NOTHING,
        note="As it is published it is a set of frames with JSON files: crop it first, or index its boxes.",
    ),
    Layout(
        "ultralytics-crops",
        "what Ultralytics' save_crop writes",
        r"(?P<stem>.+)",
        (Variant(gallery=(Part("crops/person"),)),),
        "crops/person/street-2.jpg",
        "the photograph or film, then the number of the box; no labels. Other classes than person are not read",
        "Ultralytics, results.save_crop",
        roots=("predict", "exp"),
        note="A crop is 2 % and 10 pixels wider and higher than its box (`findings/ultralytics_save_crop.sh`). What "
        "save_txt writes has the boxes themselves; `index --boxes` reads it.",
    ),
)
"""The rows; names are unique."""

NAMES = tuple(layout.name for layout in LAYOUTS)
"""What `--dataset` takes, beside folder and csv."""

BY_NAME = {layout.name: layout for layout in LAYOUTS}
