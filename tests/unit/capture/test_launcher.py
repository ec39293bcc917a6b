"""The launcher that started the training process is recognised by its command line."""

from __future__ import annotations

import pytest

from autoinstrument.capture import launcher
from autoinstrument.capture.launcher import launched


@pytest.mark.parametrize(
    ("command", "module", "entry"),
    [
        ("torchrun --nproc_per_node=2 train.py --lr 1", "", "-m torch.distributed.run --nproc_per_node=2"),
        ("/bin/python -m torch.distributed.run train.py", "", "-m torch.distributed.run"),
        ("torchrun --nnodes 1 -m pkg.train", "pkg.train", "-m torch.distributed.run --nnodes 1 -m"),
        ("/x/accelerate launch --cpu train.py", "", "-m accelerate.commands.launch --cpu"),
        ("accelerate config", "", ""),
        ("bash run.sh train.py", "", ""),
        ("torchrun other.py", "", ""),
        ("/bin/python train.py", "", ""),
        ("", "", ""),
    ],
)
def test_the_entry_point_up_to_the_program(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str, entry: str
) -> None:
    monkeypatch.setattr(launcher, "_command", lambda pid: command.split())
    assert launched(1, "/work/train.py", module) == entry
