"""Where cells lie on a crop: all networks must mean the same place by theirs."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from toy_people import TINY, toy_recipe
from toy_teachers import brute

from capbench.models import crop
from capbench.models.nets.architecture import architecture
from synthpose.cells import Cells, Resampled, feature_cells, map_cells, picture_cells, resampling
from synthpose.losses import cells_of


@pytest.mark.truth("capbench.models.crop and the recipe's own cells")
@pytest.mark.parametrize("geometry", ["msra", "udp"])
@pytest.mark.parametrize("other", ["msra", "udp"])
@pytest.mark.parametrize("options", [{}, {"bins": [160, 224]}])
def test_a_point_lies_at_one_place_in_pixels_and_cells_of_all_networks(geometry, other, options) -> None:
    """A point of a frame goes into both crops; where it is among their cells must be the same share."""
    point, box = np.array([[[311.3, 200.9]]]), np.array([[250.0, 120, 380, 300]])
    found = []
    for size, how in (((64, 96), geometry), ((128, 192), other)):
        made = toy_recipe(network={"input_size": size, "options": {**TINY, **options}}).made
        at = crop.plan(box, size, geometry=how).to_crop(point)
        cells = cells_of(torch.from_numpy(at), made, udp=how == "udp")[0, 0]
        for sides, where in ((picture_cells(made, how), at[0, 0]), (map_cells(made, how), cells)):
            found += [[side.start + side.step * float(k) for side, k in zip(sides, where, strict=True)]]
    np.testing.assert_allclose(found, [found[0]] * 4, rtol=1e-6)
    assert [side.number for side in map_cells(made, other)] == options.get("bins", [32, 48])


@pytest.mark.truth("what cells of ones see of a ramp")
@pytest.mark.parametrize("name", ["fpn-mini", "vit-tiny", "hrnet-w18-small"])
def test_features_lie_at_the_middle_of_what_they_see(name) -> None:
    size = (128, 192)
    made = architecture(name, points=1, input_size=size)
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in reversed(size)), indexing="ij")
    ramps = torch.stack([x, y])[:, None]
    patch = getattr(made.backbone, "patch", None)
    steps = [(3, 2, 1), (3, 2, 1)] if patch is None else [(patch, patch, 2)]  # kernel, stride, padding
    for kernel, stride, padding in steps:
        mean = torch.full((1, 1, kernel, kernel), 1 / kernel**2)
        ramps = torch.nn.functional.conv2d(ramps, mean, stride=stride, padding=padding)
    across, down = feature_cells(made, "msra")
    assert ramps.shape[2:] == (down.number, across.number)
    inner = slice(2, -2)  # away from the padding
    seen = (ramps[0, 0, 3, inner], ramps[1, 0, inner, 3])
    for side, pixels, where in zip((across, down), size, seen, strict=True):
        at = (side.start + side.step * torch.arange(side.number)) * pixels
        torch.testing.assert_close(at[inner], where)


@pytest.mark.truth("closed form")
def test_a_ramp_stays_one_whichever_cells_it_is_seen_from() -> None:
    coarse, fine = Cells(16, 0.0, 1 / 16), Cells(32, 0.25 / 32, 1 / 32)
    for given, wanted in ((coarse, fine), (fine, coarse), (coarse, Cells(24, 0.0, 1 / 24))):
        places = [side.start + side.step * torch.arange(side.number) for side in (given, wanted)]
        inside = (places[1] >= places[0][1]) & (places[1] <= places[0][-2])
        found = resampling(given, wanted) @ (3 * places[0] + 1)
        torch.testing.assert_close(found[inside], (3 * places[1] + 1)[inside], atol=1e-5, rtol=0)
        np.testing.assert_allclose(resampling(given, wanted), brute(given, wanted), atol=1e-6)
    assert resampling(coarse, coarse) is None


def test_both_axes_are_resampled_each_by_its_own() -> None:
    given = (Cells(6, 0.0, 1 / 6), Cells(4, 0.0, 1 / 4))
    wanted = (Cells(3, 0.0, 1 / 3), Cells(8, 0.0, 1 / 8))
    values = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    numbers = values.numpy()
    made = Resampled(given, wanted)
    expected = np.einsum("nchw,Hh,Ww->ncHW", numbers, *(brute(given[k], wanted[k]) for k in (1, 0)))
    np.testing.assert_allclose(made(values), expected, atol=1e-6)
    np.testing.assert_allclose(made.along_x(values), numbers @ brute(given[0], wanted[0]).T, atol=1e-6)
    np.testing.assert_allclose(
        made.along_y(values[0].mT), numbers[0].swapaxes(1, 2) @ brute(given[1], wanted[1]).T, atol=1e-6
    )
    assert list(Resampled(given, given)(values).flatten()) == list(values.flatten())
