"""The floor of a loss: the fused image found by optimising the pixels themselves.

No network is involved, so no network trained on this loss can be expected to score lower on it. It shows what
the loss asks for, and how far a network is from that.
"""

import torch
from torch import Tensor, nn

from fusionkit import losses


class PixelOracle(nn.Module):
    """Minimise a loss over the fused pixels with Adam, from the pixelwise maximum.

    Args:
        loss: Name of a loss preset.
        steps: Gradient steps per image.
        lr: Learning rate of Adam on pixels in [0, 1]; halved four times on the way.
    """

    def __init__(self, loss: str, steps: int = 300, lr: float = 0.1) -> None:
        super().__init__()
        self.loss = losses.preset(loss)
        self.steps = steps
        self.lr = lr

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse (B, 1, H, W) images in [0, 1]; returns the optimised images, same shape and range."""
        with torch.inference_mode(False), torch.enable_grad():
            a, b = a.clone(), b.clone()
            fused = torch.maximum(a, b).requires_grad_()
            optimizer = torch.optim.Adam([fused], lr=self.lr)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(self.steps // 5, 1), 0.5)
            for _ in range(self.steps):
                optimizer.zero_grad()
                (self.loss(fused, a, b)["total"] * a.shape[0]).backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    fused.clamp_(0, 1)
        return fused.detach()
