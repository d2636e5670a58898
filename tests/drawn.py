"""Images that several tests of metrics draw."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def noise(seed, *shape):
    """Uniform uint8 noise."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


@st.composite
def small_triples(draw, least, most):
    """Batches of one to three grey uint8 images, sides between two bounds, as hypothesis likes them."""
    shape = draw(st.tuples(st.integers(1, 3), st.just(1), st.integers(least, most), st.integers(least, most)))
    return [torch.from_numpy(draw(hnp.arrays(np.uint8, shape))) for _ in range(3)]
