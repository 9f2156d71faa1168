"""Memory of tables."""

import pytest
import torch

from recsys.embedding.memory import LINE, new_table, new_table_like


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1000, 16), (7, 3), (5,), (0, 4)])
def test_tables_are_zeros_that_begin_on_a_cache_line(shape, dtype):
    table = new_table(shape, dtype)
    assert table.shape == shape
    assert table.dtype == dtype
    assert table.count_nonzero() == 0
    assert table.is_contiguous()
    assert table.data_ptr() % LINE == 0 or not table.numel()


def test_a_table_like_another_has_its_type_and_the_shape_that_is_given():
    table = torch.ones(4, 3, dtype=torch.float64)
    assert torch.equal(new_table_like(table), torch.zeros(4, 3, dtype=torch.float64))
    assert torch.equal(new_table_like(table, (4,)), torch.zeros(4, dtype=torch.float64))


def test_on_another_device_torch_gives_the_memory():
    assert new_table((3, 2), torch.float32, torch.device("meta")).device.type == "meta"
    with torch.device("meta"):
        assert new_table((3, 2), torch.float32).device.type == "meta"
