"""A training step recorded once as a CUDA graph and replayed.

A step of the three backbones starts 600 to 900 kernels. At small batches the GPU is done with each before Python has
started the next; a replayed graph is one start. What is recorded runs on fixed memory: batches are copied in.
Source of the recipe: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # inputs, labels -> what the step returns
Replay = Callable[[], tuple[Tensor, Tensor]]
Record = Callable[[Replay], Replay]

WARM_UP_STEPS = 3  # as the source has it: libraries choose their kernels and take their memory before the recording


def can_record(device: torch.device, n_ranks: int) -> bool:
    """Say whether a step can be recorded: on one GPU."""
    return device.type == "cuda" and n_ranks == 1


def note_on_recording(is_wanted: bool, device: torch.device, n_ranks: int) -> str:
    """Return a note where a recording is wanted and cannot be made, or nothing."""
    if not is_wanted or can_record(device, n_ranks):
        return ""
    return (
        f"note: train.cuda_graphs records nothing here, which takes one GPU: this training computes on {device.type}"
        f" in {n_ranks} process(es), with plain steps"
    )


class StepRecording:
    """The steps of one training that have a full batch; the first of them is recorded.

    Whether recorded or not, the same kernels run on the same numbers; only the learning rate is rounded to float32.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, record: Record | None = None) -> None:
        """Take what a step changes: the network in training mode and its Adam, made with `capturable`.

        record: turns a function into one that repeats what it did; by default by a CUDA graph.
        """
        self._network = network
        self._optimizer = optimizer
        self._record = record or record_on_gpu
        self._replay: Replay | None = None

    def run(self, step: Step, inputs: Tensor, labels: Tensor, learning_rate: float) -> tuple[Tensor, Tensor]:
        """Take one step; the same function and shapes every time.

        Args:
            step: takes a batch to its results with one step of the optimizer; waits for nothing on the GPU.
            inputs: float (b, 3, H, W).
            labels: int64 (b,).
            learning_rate: of this step.

        Returns:
            What the step returns. Its memory holds the next step's results after the next call.
        """
        if self._replay is None:
            self._inputs, self._labels = inputs.clone(), labels.clone()
            self._learning_rate = torch.tensor(learning_rate, dtype=torch.float32, device=inputs.device)
            self._replay = self._record_step(lambda: step(self._inputs, self._labels))
        self._inputs.copy_(inputs)
        self._labels.copy_(labels)
        self._learning_rate.fill_(learning_rate)
        return self._replay()

    def _record_step(self, step: Replay) -> Replay:
        """Warm up, go back to where the training was, and record; the optimizer reads the rate from memory."""
        rates = [group["lr"] for group in self._optimizer.param_groups]
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate
        go_back = self._remember()
        _warm_up(step, self._inputs.device)
        go_back()
        replay = self._record(step)
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return replay

    def _remember(self) -> Callable[[], None]:
        """Return what puts weights, statistics, moments and random numbers back, in the memory where they are.

        The optimizer makes its moments at its first step; what was not there before is all zero then, as Adam begins.
        """
        weights = {name: value.clone() for name, value in self._network.state_dict().items()}
        moments = {key: {n: v.clone() for n, v in kept.items()} for key, kept in self._optimizer.state.items()}
        device = self._inputs.device
        drawn = torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device)

        def go_back() -> None:
            with torch.no_grad():
                for name, value in self._network.state_dict().items():
                    value.copy_(weights[name])
                for key, kept in self._optimizer.state.items():
                    for name, value in kept.items():
                        value.copy_(moments[key][name]) if key in moments else value.zero_()
            torch.set_rng_state(drawn) if device.type == "cpu" else torch.cuda.set_rng_state(drawn, device)

        return go_back


def record_on_gpu(step: Replay) -> Replay:
    """Return what repeats the kernels that a step starts, on the same memory. The step itself computes nothing."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()

    def replay() -> tuple[Tensor, Tensor]:
        graph.replay()
        return results

    return replay


def _warm_up(step: Replay, device: torch.device) -> None:
    if device.type == "cpu":
        for _ in range(WARM_UP_STEPS):
            step()
        return
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream(device).wait_stream(aside)
