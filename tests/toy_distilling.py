"""A toy distillation in a process of its own, one of several: FOLDER SAMPLES."""

import sys
from pathlib import Path


def main(folder, samples):
    from toy_people import ToyPeople
    from toy_teachers import random_teacher
    from toy_training import recipe_of

    from synthpose.distill import Distillation, distill

    how = Distillation(maps=1.0, second=0.5)
    recipe = recipe_of("vit", samples)
    return distill(recipe, Path(folder), teacher=random_teacher(), how=how, data=ToyPeople(56))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
