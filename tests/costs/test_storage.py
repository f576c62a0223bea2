import pytest

from peftbench.costs.published import SHAPES
from peftbench.costs.storage import cache_bytes, file_bytes, icl_bytes, tensor_bytes


def test_41_shots_of_98_tokens_are_16_072_bytes():
    assert icl_bytes(41 * 98) == 16_072


def test_32_shots_of_512_tokens_are_65_536_bytes():
    assert icl_bytes(32 * 512) == 65_536


def test_ia3_of_t0_11b_is_4_325_376_bytes_of_tensors():
    assert tensor_bytes(1_081_344) == 4_325_376


def test_the_paper_s_144_gigabytes_of_gpt3_cache_are_gib_in_float32():
    assert cache_bytes(SHAPES["gpt3-175b"].sizes, 32 * 512) == 144 * 2**30


def test_a_folder_s_bytes_are_those_of_its_files(tmp_path):
    (tmp_path / "adapter.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "adapter.json").write_bytes(b"y" * 5)
    assert file_bytes(tmp_path) == 15
    assert file_bytes(tmp_path / "deeper" / "adapter.json") == 5


def test_a_missing_file_is_not_an_empty_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_bytes(tmp_path / "none")
