"""The memory of the latest training stays, against a list kept by hand."""

import torch
from torch.func import functional_call, stack_module_state, vmap

from methods.common.memory import Memory


def go_through(memory, batches):
    """Recall and keep each batch of rows, whose value is 100 * step + row; return what was recalled at each step, and the stays by hand."""
    found, kept = [], []
    for step, rows in enumerate(batches):
        there, old = memory.recall(torch.tensor(rows))
        found.append([(int(r), float(v)) for r, v, t in zip(old["rows"], old["value"][:, 0], there, strict=True) if t])
        memory.keep(torch.tensor(rows), (there, old), value=torch.tensor([[100.0 * step + r] for r in rows]))
        expected = [pair for pair in kept if pair[0] not in rows][: max(0, memory.size - len(rows))]
        assert found[-1] == expected
        kept = [*((r, 100.0 * step + r) for r in rows), *expected][: memory.size]
        assert memory.rows.tolist() == [*(r for r, _ in kept), *[-1] * (memory.size - len(kept))]
    return found


def test_a_batch_is_completed_by_the_latest_other_stays():
    memory = Memory(6, value=(1,))
    found = go_through(memory, [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2, 3], [4], [4, 5, 6, 0, 1, 2], [7, 8]])
    assert [len(f) for f in found] == [0, 2, 4, 4, 3, 5, 0, 4]


def test_all_stays_are_there_where_they_are_few_and_none_where_the_batch_is_larger():
    assert [len(f) for f in go_through(Memory(9, value=(1,)), [[0, 1], [2, 3], [1, 2], [3, 0]])] == [0, 2, 2, 2]
    assert [len(f) for f in go_through(Memory(3, value=(1,)), [[0, 1, 2, 3], [4, 5, 6, 0], [0]])] == [0, 0, 2]


def test_what_is_kept_has_no_gradient_and_is_no_state():
    memory, x = Memory(4, value=(2,)), torch.ones(2, 2, requires_grad=True)
    rows = torch.tensor([3, 5])
    memory.keep(rows, memory.recall(rows), value=x * 2)
    assert not memory.value.requires_grad
    assert dict(memory.state_dict()) == {}
    assert {name for name, _ in memory.named_buffers()} == {"rows", "value"}


def test_replicas_in_a_stack_keep_their_own():
    batches = torch.tensor([[[0, 1], [5, 6]], [[1, 2], [7, 8]], [[0, 3], [5, 7]]])
    alone = []
    for r in range(2):
        memory = Memory(4, value=(1,))
        for rows in batches[:, r]:
            memory.keep(rows, memory.recall(rows), value=rows[:, None].float())
        alone.append(memory)

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = Memory(4, value=(1,))

        def forward(self, rows):
            found = self.memory.recall(rows)
            self.memory.keep(rows, found, value=rows[:, None].float())
            return found[1]["value"].sum()

    replicas = [Step(), Step()]
    parameters, buffers = stack_module_state(replicas)
    for rows in batches:
        vmap(lambda p, b, r: functional_call(replicas[0], (p, b), (r,)))(parameters, buffers, rows)
    for r, memory in enumerate(alone):
        assert torch.equal(buffers["memory.rows"][r], memory.rows)
        assert torch.equal(buffers["memory.value"][r], memory.value)
