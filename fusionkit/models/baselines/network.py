"""What all baselines share: the order and range of images, what authors' scripts write, and reading their weights."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from fusionkit.errors import unknown
from fusionkit.models.baselines.published import IDLE, Published, deciding, digest
from fusionkit.models.baselines.writing import POSTS
from fusionkit.models.inputs import check_images
from fusionkit.models.renaming import load_renamed

# Weights of red, green and blue in a grey value.
LUMA = (0.299, 0.587, 0.114)


class Baseline(nn.Module, ABC):
    """A published network with two inputs, fed and written as its authors' script does it.

    In training mode the network's image is returned as floats, unclipped, so that gradients flow; in evaluation mode
    it is what the authors' script writes, in steps of 1/255.

    Args:
        post: How the image is written, a key of ``POSTS``.

    Attributes:
        about: One line for lists.
        source: Authors, venue, year.
        published: Where the authors' code and weights are.
        names: Pattern in our names of tensors, and what the authors have there; all that fit count, in this order.
        idle: Beginnings of the names of parameters that the fused image does not depend on.

    Raises:
        FusionkitError: ``post`` is unknown.
    """

    about: ClassVar[str]
    source: ClassVar[str]
    published: ClassVar[Published]
    names: ClassVar[tuple[tuple[str, str], ...]] = ()
    idle: ClassVar[tuple[str, ...]] = ()

    def __init__(self, post: str) -> None:
        super().__init__()
        if post not in POSTS:
            raise unknown("way of writing an image", post, POSTS)
        self.post = post

    @abstractmethod
    def raw(self, a: Tensor, b: Tensor) -> Tensor:
        """Return what the network itself gives, in the authors' units, before anything is done to write it.

        Args:
            a: Infrared or functional image, (B, 1, H, W) in [0, 1].
            b: Visible image or MRI, alike.
        """

    def image(self, raw: Tensor) -> Tensor:
        """Return the network's output as an image whose black is 0 and whose white is 1, unclipped."""
        return raw

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse two images.

        Args:
            a: Infrared or functional image, (B, 1, H, W) in [0, 1], each side at least 16 pixels.
            b: Visible image or MRI, alike.

        Returns:
            The fused image, (B, 1, H, W), in evaluation mode in [0, 1].

        Raises:
            FusionkitError: Images that do not fit.
        """
        check_images(a, b)
        fused = self.image(self.raw(a, b))
        if not self.training:
            fused = POSTS[self.post](fused)
        return grey(fused)

    @classmethod
    def from_authors(cls, state: Mapping[str, Tensor], source: str) -> Self:
        """Build the network from the authors' tensors, strictly, in evaluation mode.

        Weights that are one of the known releases bring their options with them; others get the defaults.

        Args:
            state: Tensors under the authors' names.
            source: Where they come from, for messages.

        Raises:
            FusionkitError: Keys are missing, unexpected or of another shape; all are listed.
        """
        identity = digest(state)
        options = [release.options for release in cls.published.releases.values() if release.digest == identity]
        return cls(**options[0] if options else {}).load_authors(state, source)

    def load_authors(self, state: Mapping[str, Tensor], source: str) -> Self:
        """Load the authors' tensors strictly and return the network in evaluation mode.

        Kernels are stored channels last, in which a CPU convolves faster.

        Args:
            state: Tensors under the authors' names.
            source: Where they come from, for messages.

        Raises:
            FusionkitError: Keys are missing, unexpected or of another shape; all are listed.
        """
        counters = {self.theirs(name): x for name, x in self.state_dict().items() if name.endswith(IDLE)}
        what = f"{self.published.repository} at commit {self.published.commit}"
        load_renamed(self, self.ours(deciding(state)) | counters, self.theirs, source, what)
        return self.to(memory_format=torch.channels_last).eval()

    @classmethod
    def theirs(cls, name: str) -> str:
        """Return the authors' name of one of our tensors."""
        for ours, theirs in (*cls.names, (r"^unused\.", "")):
            name = re.sub(ours, theirs, name)
        return name

    @staticmethod
    def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the authors' tensors in torch's layout; networks from other frameworks transpose here."""
        return dict(state)


def grey(image: Tensor) -> Tensor:
    """Return the grey image (B, 1, H, W) of one with one or three channels."""
    if image.shape[1] == 1:
        return image
    red, green, blue = image.split(1, 1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def from_tensorflow(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return TensorFlow's tensors with kernels (height, width, inputs, outputs) in torch's order."""
    return {name: x.permute(3, 2, 0, 1).contiguous() if x.ndim == 4 else x for name, x in state.items()}
