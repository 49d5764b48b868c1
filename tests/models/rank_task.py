"""What two processes of one training do together in test_ranks.py; torchrun runs this file in each of them."""

import sys
from pathlib import Path

import torch

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import TrainSettings
from cxrflow.errors import CxrflowError
from cxrflow.models import epochs
from cxrflow.models.epochs import fit
from cxrflow.models.networks import build_network
from cxrflow.models.ranks import join_ranks
from cxrflow.models.training import Training, start_training
from tests.models.toy import CPU, TINY, toy_data

SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=0.01)


def train_together(folder: Path) -> None:
    """Train in this process and the other; write this rank's weights, curves and the images of every step."""
    seen: list[int] = []
    step = epochs.train_step

    def watch(training: Training, places: torch.Tensor, *rest: object) -> object:
        seen.extend(places.tolist())
        return step(training, places, *rest)

    epochs.train_step = watch
    with join_ranks("cpu") as ranks:
        data = toy_data(n_train=26, n_val=7)  # batches of 8, 8 and 10: two left over would be one for each rank
        network = build_network("tiny", 2, SETTINGS.batch_norm_momentum)
        training = start_training(network, data, SETTINGS, seed=0, device=CPU, ranks=ranks)
        fit(training, None, lambda _row, _is_best: None)
        curves = [(row.train_loss, row.train_macro_f1, row.val_loss, row.val_macro_f1) for row in training.history]
        outcome = {"weights": training.best.state_dict, "curves": curves, "seen": seen}
        torch.save(outcome, folder / f"rank{ranks.rank}.pt")
        ranks.share(None)  # both have written
        if ranks.rank == 1:
            raise CxrflowError("what went wrong in rank 1")
        ranks.share(None)


if __name__ == "__main__":
    BACKBONES["tiny"] = TINY
    torch.set_num_threads(1)
    train_together(Path(sys.argv[1]))
