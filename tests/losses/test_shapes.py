import pytest
import torch

from rlx.losses.shapes import check_shape


def test_names_bind_across_calls_that_share_a_dict():
    dims = check_shape(torch.zeros(5, 3), "B A", name="q")
    assert dims == {"B": 5, "A": 3}
    assert check_shape(torch.zeros(5), "B", dims, name="r") is dims
    with pytest.raises(
        ValueError, match=r"r_t: shape \(4,\) does not fit \[B\]: B is 4 here, expected 5 .*A=3"
    ):
        check_shape(torch.zeros(4), "B", dims, name="r_t")


def test_a_name_must_fit_within_one_tensor():
    check_shape(torch.zeros(3, 3), "A A")
    with pytest.raises(ValueError, match="A is 4 here, expected 3"):
        check_shape(torch.zeros(3, 4), "A A")


def test_rank_is_checked():
    with pytest.raises(ValueError, match=r"q: shape \(5, 1\) has 2 dimensions, expected \[B\]"):
        check_shape(torch.zeros(5, 1), "B", name="q")
    check_shape(torch.tensor(1.0), "")
    with pytest.raises(ValueError):
        check_shape(torch.zeros(1), "")


@pytest.mark.parametrize(
    ("shape", "spec"), [((5, 4), "B 4"), ((5, 9), "B _"), ((5,), "B ..."), ((5, 2, 3), "B ...")]
)
def test_numbers_blanks_and_ellipsis(shape, spec):
    assert check_shape(torch.zeros(shape), spec)["B"] == 5


def test_ellipsis_before_a_name_and_too_few_dimensions():
    assert check_shape(torch.zeros(2, 3, 7), "... K") == {"K": 7}
    with pytest.raises(ValueError):
        check_shape(torch.zeros(2), "B ... K")
    with pytest.raises(ValueError):
        check_shape(torch.zeros(2, 3), "B 4")
