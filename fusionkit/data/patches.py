"""Training samples: random crops of pairs, each decided by (seed, epoch, index) alone.

Because no sample depends on the ones before it, a run that was cut off goes on exactly where it stopped.
"""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusionkit.data.pairs import load_pair
from fusionkit.data.registry import split_names
from fusionkit.errors import FusionkitError

MEMORY_LIMIT = 4 * 2**30


class Patches(Dataset):
    """Crops of the pairs of one or more splits.

    Args:
        data: ``dataset/split`` names.
        crop: Side of the square crop in pixels, 0 for whole images.
        shrink: Where an image is smaller, take its whole height or width instead of refusing it.
        flips: Flip and rotate by quarter turns at random.
        gain: Each modality of a sample is multiplied by a random factor between this and 1.
        swap: Exchange the modalities of a sample at random.
        mix: Share of samples whose second modality comes from another pair, drawn at random.
        seed: Decides crops, flips, factors, exchanges and mixtures, together with the epoch.

    Raises:
        FusionkitError: A split is not here, an image is smaller than the crop and may not be, or pairs to be mixed
            differ in size.
    """

    def __init__(
        self,
        data: tuple[str, ...],
        crop: int,
        flips: bool,
        gain: float = 1.0,
        swap: bool = False,
        mix: float = 0.0,
        shrink: bool = False,
        seed: int = 0,
    ) -> None:
        self.crop, self.flips, self.gain, self.swap, self.mix, self.seed = crop, flips, gain, swap, mix, seed
        self.shrink = shrink
        self.epoch = 0
        self.pairs: list[tuple[str, str, str]] = []
        for item in data:
            dataset, _, split = item.partition("/")
            self.pairs += [(dataset, split, name) for name in split_names(dataset, split)]
        if not self.pairs:
            raise FusionkitError(f"nothing to train on: {', '.join(data)} hold no pairs")
        self._kept: dict[int, Tensor] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        """Return one sample, (2, height, width): first and second modality, exchanged or not."""
        both = self._both(index)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) * 1_000_003 + index)
        if self.mix and torch.rand((), generator=generator) < self.mix:
            both = self._mixed(index, int(torch.randint(len(self), (), generator=generator)))
        if self.crop:
            height, width = both.shape[-2:]
            top = int(torch.randint(max(height - self.crop, 0) + 1, (), generator=generator))
            left = int(torch.randint(max(width - self.crop, 0) + 1, (), generator=generator))
            both = both[:, top : top + self.crop, left : left + self.crop]
        if self.flips:
            turns, mirror = torch.randint(4, (2,), generator=generator).tolist()
            both = torch.rot90(both, turns, (1, 2))
            both = both.flip(2) if mirror % 2 else both
        if self.gain < 1:
            both = both * (self.gain + (1 - self.gain) * torch.rand(2, 1, 1, generator=generator))
        if self.swap and torch.randint(2, (), generator=generator):
            both = both.flip(0)
        return both

    def order(self) -> list[int]:
        """Return this epoch's order of all samples."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return torch.randperm(len(self), generator=generator).tolist()

    def _mixed(self, first: int, second: int) -> Tensor:
        """Return the first modality of one pair and the second one of another."""
        one, two = self._both(first), self._both(second)
        if one.shape != two.shape:
            sizes = (f"{'/'.join(self.pairs[i])} {x.shape[2]}x{x.shape[1]}" for i, x in ((first, one), (second, two)))
            raise FusionkitError(f"only pairs of one size can be mixed: {' and '.join(sizes)}")
        return torch.stack([one[0], two[1]])

    def _both(self, index: int) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        pair = load_pair(*self.pairs[index])
        both = torch.cat([pair.a, pair.b])
        if min(both.shape[-2:]) < self.crop and not self.shrink:
            where = "/".join(self.pairs[index])
            raise FusionkitError(f"{where}: {both.shape[2]}x{both.shape[1]} is smaller than the crop of {self.crop}")
        if self._kept_bytes + both.nbytes <= MEMORY_LIMIT:
            self._kept[index] = both
            self._kept_bytes += both.nbytes
        return both
