"""Teachers for toy people: one that knows everything, and networks that say something at random."""

import numpy as np
from toy_people import TINY, ToyPeople, toy_recipe

#: features wider than the student's, crops and maps finer, points in another order and more of them
OTHER = {
    "skeleton": "openpose-25",
    "network": {"options": {**TINY, "width": 20}, "input_size": (96, 96)},
}


def random_teacher(*, seed=5, **changes):
    """A network whose maps have shape, because its head's weights are large."""
    import torch

    from synthpose.distill import Teacher
    from synthpose.train_recipe import merged

    recipe = toy_recipe(**merged(OTHER, changes))
    net = recipe.made.build(seed=seed).eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, parameter in net.head.named_parameters():
            parameter.normal_(std=0.5 if "weight" in name else 0.1)
    return Teacher(recipe, net, f"{seed:064d}")


def oracle(data: ToyPeople, **changes):
    """A teacher that recognises each picture and answers with the very maps that the truth asks for."""
    import torch
    from torch import nn

    from synthpose.distill import Teacher
    from synthpose.looks import network_input
    from synthpose.losses import cells_of

    recipe = toy_recipe(skeleton="synthpose-52", **changes)
    known = network_input(data.pictures, torch.device("cpu")).flatten(1)
    cells = cells_of(torch.from_numpy(data.points), recipe.made, udp=recipe.loss.geometry == "udp")
    width, height = recipe.made.heatmap_size

    class Recognises(nn.Module):
        def forward(self, pictures):
            # not cdist, whose own arithmetic finds no zero
            return torch.stack([(known - one.flatten()).abs().sum(1).argmin() for one in pictures])

    class Answers(nn.Module):
        def forward(self, numbers):
            at = cells[numbers]
            x = (torch.arange(width) - at[..., 0, None])[..., None, :]
            y = (torch.arange(height) - at[..., 1, None])[..., :, None]
            return -0.5 * (x**2 + y**2) / recipe.loss.sigma**2

    net = nn.Module()
    net.backbone, net.head = Recognises(), Answers()
    return Teacher(recipe, net, "0" * 64)


def brute(given, wanted):
    """Weights by a loop: linear between neighbours, a triangle of the wanted distance where that is wider."""
    made = np.zeros((wanted.number, given.number))
    reach = max(1.0, wanted.step / given.step)
    for j in range(wanted.number):
        at = (wanted.start + j * wanted.step - given.start) / given.step
        at = min(max(at, 0.0), given.number - 1.0)
        for i in range(given.number):
            made[j, i] = max(0.0, 1 - abs(at - i) / reach)
        made[j] /= made[j].sum()
    return made
