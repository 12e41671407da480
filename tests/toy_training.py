"""A toy training in a process of its own, to be killed or one of several: FOLDER SAMPLES NETWORK PAUSE."""

import sys
import time
from pathlib import Path

VIT = {"architecture": "vit-tiny", "options": {"width": 24, "depth": 2, "heads": 3, "head": "simple"}}


class Slow:
    """Pictures that take a while, so that a kill falls between steps and not after the last."""

    def __init__(self, data, seconds):
        self.data, self.seconds, self.skeleton = data, seconds, data.skeleton

    def __len__(self):
        return len(self.data)

    def batch(self, numbers):
        time.sleep(self.seconds)
        return self.data.batch(numbers)


def recipe_of(network, samples, *, drop_path=0.0):
    from toy_people import toy_recipe

    made = toy_recipe(samples=samples, augment={"moved": 0.5})
    if network == "fpn":
        return made
    net = type(made.network)(**VIT, input_size=(64, 64), drop_path=drop_path)
    every = made.loss.model_copy(update={"hidden": 1.0})
    # all points weigh the same: a mean over halves of a batch is then the mean over the whole
    return made.model_copy(update={"network": net, "loss": every, "augment": None})


def main(folder, samples, network, pause):
    from toy_people import ToyPeople

    from synthpose.train import train

    data = ToyPeople(56)
    return train(recipe_of(network, samples), Path(folder), data=Slow(data, pause) if pause else data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
