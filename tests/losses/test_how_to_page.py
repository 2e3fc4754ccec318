"""The page on imbalanced classes runs as printed."""

import copy
import re
from pathlib import Path

import torch
from loss_cases import Net
from torch.utils.data import DataLoader, TensorDataset

from softmi import GaussianClasses

PAGE = (Path(__file__).parents[2] / "book" / "imbalance.md").read_text(encoding="utf-8")


def test_every_recipe_of_the_page_runs_as_printed():
    """In order, with the names that the text takes for granted."""
    task = GaussianClasses([[-2.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0.7, 0.2, 0.1])
    x, y = task.sample(96, torch.Generator().manual_seed(0))
    batches = DataLoader(TensorDataset(x, y), batch_size=32)
    names = {
        "model": Net(), "y_train": y, "train_loader": batches, "test_loader": batches, "epochs": 2
    }  # fmt: skip
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        assert len(block.splitlines()) <= 10
        before = copy.deepcopy(names["model"].state_dict())
        exec(compile(block, "book/imbalance.md", "exec"), names)
        if "step()" in block:
            after = names["model"].state_dict()
            assert not torch.equal(before["body.0.weight"], after["body.0.weight"].cpu())
    assert names["loss"].reweighting is False
    ones = torch.ones(96)
    torch.testing.assert_close(names["probabilities"].sum(1), ones, rtol=0, atol=8 * 2.0**-23)
    # Divided by the prior the posterior is balanced again.
    assert torch.equal((names["probabilities"] / names["prior"]).argmax(1), names["balanced"])
