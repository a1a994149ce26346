"""What a network is told: a row says what was said and nothing more; what makes no sense is refused in a sentence."""

import base64
import json
import zlib

import numpy as np
import pytest

from medgen.card import ModelCard
from medgen.catalogue import DATASETS
from medgen.conditions import HEALTHY, Conditions
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.region import Region

COLUMNS = (
    *("label=normal", "label=viral_pneumonia", "label=No Finding", "label=Pneumonia", "label=Effusion"),
    *("cohort=kermany_cxr_128", "cohort=nih_cxr_128"),
    *("age", "age known", "sex=F", "sex=M", "view=AP", "view=PA"),
)
TOLD = Conditions(COLUMNS)


def said(label=None, attributes=None, severity=None, conditions=TOLD, **options):
    """The columns that are not zero."""
    row = conditions.row(label, attributes or {}, severity, **options)
    assert row.shape == (len(conditions.columns),) and row.dtype == np.float32
    return {name: float(value) for name, value in zip(conditions.columns, row, strict=True) if value}


def test_nothing_said_is_a_row_of_zeros():
    assert said() == said(strict=True) == said(None, {"age": "", "sex": "", "view": ""}, strict=True) == {}
    assert Conditions(()).row().shape == (0,)


def test_a_label_implies_its_cohort():
    assert said("viral_pneumonia") == {"label=viral_pneumonia": 1, "cohort=kermany_cxr_128": 1}
    both = {"label=Pneumonia": 1, "label=Effusion": 1, "cohort=nih_cxr_128": 1}
    assert said("Effusion|Pneumonia", strict=True) == said("Pneumonia|Effusion") == both
    assert said("Effusion", {"cohort": "nih_cxr_128"}) == said("Effusion")
    assert said(None, {"cohort": "nih_cxr_128"}) == {"cohort=nih_cxr_128": 1}


def test_a_cohort_is_not_implied_where_two_know_the_label():
    two = Conditions(("label=normal", "cohort=kermany_cxr_128", "cohort=kermany_cxr_256"))
    assert said("normal", conditions=two) == {"label=normal": 1}
    told = said("normal", {"cohort": "kermany_cxr_256"}, conditions=two)
    assert told == {"label=normal": 1, "cohort=kermany_cxr_256": 1}


def test_attributes_are_numbers_that_tell_zero_from_unknown():
    assert said(None, {"age": 75}) == said(None, {"age": "75"}) == {"age": 1, "age known": 1}
    assert said(None, {"age": 50}) == {"age known": 1}
    assert said(None, {"age": 0}) == {"age": -2, "age known": 1}
    assert said(None, {"sex": "F", "view": "PA"}) == {"sex=F": 1, "view=PA": 1}


def test_a_picture_to_train_on_is_told_only_what_has_a_column_and_sense():
    odd = {"age": "411", "sex": "other", "view": "LL", "cohort": "elsewhere", "hospital": "b"}
    assert said("Hernia|Effusion", odd) == said("Effusion")
    assert said("Hernia") == {"cohort=nih_cxr_128": 1}
    assert said("broken leg", {"age": "nan"}) == said(None, {"age": "old"}) == {}
    only_label = Conditions(("label=Effusion",))
    assert said("Effusion", {"age": 50, "sex": "M"}, conditions=only_label) == {"label=Effusion": 1}


def test_severity_goes_from_the_healthy_word_of_the_cohort_to_the_label():
    attributes = {"age": 75, "sex": "F"}
    for label, healthy in (("viral_pneumonia", "normal"), ("Effusion|Pneumonia", "No Finding")):
        rows = [TOLD.row(label, attributes, s, strict=True) for s in (0.0, 0.25, 1.0)]
        assert np.array_equal(rows[0], TOLD.row(healthy, attributes))
        assert np.array_equal(rows[2], TOLD.row(label, attributes))
        np.testing.assert_allclose(rows[1], 0.75 * rows[0] + 0.25 * rows[2], atol=1e-6)
        # what both ends share stays as it is
        assert rows[1][COLUMNS.index("age")] == rows[1][COLUMNS.index("sex=F")] == 1


WRONG = [
    (("broken leg", {}, None), "cannot be told label=broken leg; it is told label=normal"),
    (("Hernia|Effusion", {}, None), "cannot be told label=Hernia"),
    (("Effusion|Effusion", {}, None), "each once"),
    (("Effusion|", {}, None), "each once"),
    (("", {}, None), "each once"),
    (("No Finding|Effusion", {}, None), "No Finding means no disease"),
    (("viral_pneumonia|Effusion", {}, None), "belong to different data sets"),
    (("Effusion", {"cohort": "kermany_cxr_128"}, None), "no label of kermany_cxr_128; choose nih_cxr_128"),
    ((None, {"cohort": "kermany_cxr_256"}, None), "cannot be told cohort=kermany_cxr_256"),
    ((None, {"age": "old"}, None), "from 0 to 120, not 'old'"),
    ((None, {"age": float("nan")}, None), "from 0 to 120, not nan"),
    ((None, {"age": 10**400}, None), "from 0 to 120"),
    ((None, {"age": True}, None), "from 0 to 120"),
    ((None, {"age": -1}, None), "from 0 to 120"),
    ((None, {"age": 121}, None), "from 0 to 120"),
    ((None, {"sex": "f"}, None), "sex must be F or M, not 'f'"),
    ((None, {"view": "LL"}, None), "view must be AP or PA, not 'LL'"),
    ((None, {"hospital": "b"}, None), "use age, sex, view or cohort"),
    (("Effusion", {}, float("nan")), "from 0 \\(healthy\\) to 1"),
    (("Effusion", {}, -0.1), "from 0 \\(healthy\\) to 1"),
    (("Effusion", {}, 1.1), "from 0 \\(healthy\\) to 1"),
    (("Effusion", {}, 10**400), "from 0 \\(healthy\\) to 1"),
    (("Effusion", {}, "half"), "from 0 \\(healthy\\) to 1"),
    (("normal", {}, 0.5), "needs a disease to grade, not normal"),
    ((None, {}, 1.0), "needs a disease to grade, not no label"),
]


@pytest.mark.parametrize(("asked", "sentence"), WRONG)
def test_a_question_that_makes_no_sense_is_refused(asked, sentence):
    with pytest.raises(MedgenError, match=sentence):
        TOLD.row(*asked, strict=True)


def test_labels_of_two_cohorts_are_refused_while_training_too():
    for label, attributes in (("viral_pneumonia|Effusion", {}), ("Effusion", {"cohort": "kermany_cxr_128"})):
        with pytest.raises(MedgenError, match="Effusion"):
            TOLD.row(label, attributes)


def test_severity_needs_a_healthy_word_among_the_columns():
    with pytest.raises(MedgenError, match="no healthy counterpart of Effusion"):
        Conditions(("label=normal", "label=Effusion")).row("Effusion", severity=0.5)


@pytest.mark.parametrize("net", [{"conditions": list(COLUMNS)}, {}])
def test_what_a_picture_may_be_filed_under(net):
    card = ModelCard(
        "d", "diffusion", "d", "CR", "au", (0.0, 255.0), (1, 3, 5), "MIT", "", net=net, labels=TOLD.labels
    )  # fmt: skip

    def shows(*label, **asked):
        return Request((0,), None, None, *label, **asked).shows(card)

    assert shows() == {} and shows("normal") == {"label": "normal"}
    assert shows("viral_pneumonia", severity=0) == {"label": "normal", "severity": 0}
    assert shows("Effusion|Pneumonia", severity=0.0) == {"label": "No Finding", "severity": 0.0}
    assert shows("Effusion", severity=0.5) == {"label": "Effusion", "severity": 0.5}
    region = Region.from_mask(np.ones((3, 5), bool))
    assert shows("Effusion", region=region) == {"region_label": "Effusion"}
    assert shows("Effusion", region=region, severity=0.0) == {"region_label": "No Finding", "severity": 0.0}
    with pytest.raises(MedgenError, match="needs a disease to grade"):
        shows("normal", severity=0.0)


def test_groups_are_what_is_hidden_together():
    assert TOLD.groups == ((0, 1, 2, 3, 4), (5, 6), (7, 8), (9, 10), (11, 12))
    assert Conditions(("age known", "label=normal", "age")).groups == ((1,), (0, 2))
    assert Conditions(()).groups == ()
    assert TOLD.labels[1] == "viral_pneumonia" and TOLD.cohorts == ("kermany_cxr_128", "nih_cxr_128")


def test_the_columns_of_a_card_may_be_a_list():
    assert Conditions(list(COLUMNS)) == TOLD and hash(Conditions(list(COLUMNS))) == hash(TOLD)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (("label",), "'label' is no condition"),
        (("label=",), "'label=' is no condition"),
        (("label=a|b",), "is no condition"),
        (("sex=X",), "is no condition"),
        (("cohort=elsewhere",), "is no condition"),
        (("height=3",), "is no condition"),
        ((3,), "3 is no condition"),
        ("age", "'a' is no condition"),
        (("age",), "go together"),
        (("label=a", "label=a"), "named twice"),
    ],
)
def test_columns_that_are_none_are_refused(columns, sentence):
    with pytest.raises(MedgenError, match=sentence):
        Conditions(columns)


def test_every_cohort_of_the_catalogue_has_one_healthy_word():
    for entry in DATASETS.values():
        assert len(set(HEALTHY) & set(entry.labels)) == (1 if entry.labels else 0)


def drawn(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width)) < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (128, 128), (7, 256)])
def test_a_region_gives_its_mask_back_also_through_json(shape):
    mask = drawn(*shape)
    region = Region.from_mask(mask)
    again = Region.from_json(json.loads(json.dumps(region.to_json())))
    assert again == region and hash(again) == hash(region)
    assert again.mask().dtype == bool and np.array_equal(again.mask(), mask)
    assert Region.from_mask(~mask) != region
    assert Region.from_mask(np.zeros(shape, bool)).is_empty() and not Region.from_mask(np.ones(shape, bool)).is_empty()


def packed(bits):
    return base64.b64encode(zlib.compress(bits)).decode()


def test_a_region_that_is_none_is_refused():
    good = Region.from_mask(drawn(3, 5)).to_json()
    for mask in (np.ones((3, 5)), np.ones((1, 3, 5), bool)):
        with pytest.raises(MedgenError, match="bool mask"):
            Region.from_mask(mask)
    with pytest.raises(MedgenError, match="height and a width"):
        Region.from_mask(np.ones((0, 5), bool))
    for change, sentence in (
        ({"bits": "?"}, "cannot be read"),
        ({"bits": 3}, "cannot be read"),
        ({"bits": "AAAA"}, "cannot be read"),
        ({"bits": packed(b"\0\0\0")}, "no mask of 3 x 5"),
        ({"bits": packed(b"\0\1")}, "no mask of 3 x 5"),  # a bit outside the picture
        ({"shape": [3, 50]}, "no mask of 3 x 50"),
        ({"shape": [3, "5"]}, "height and a width"),
        ({"shape": [True, 15]}, "height and a width"),
        ({"shape": [3]}, "height and a width"),
        ({"shape": "3x5"}, "A region must be"),
        ({"colour": 1}, "A region must be"),
    ):
        with pytest.raises(MedgenError, match=sentence):
            Region.from_json(good | change)
    with pytest.raises(MedgenError, match="A region must be"):
        Region.from_json([1])
