"""Sliders, a button and two pictures around ``fusionkit.live``: what the walkthrough shows in a notebook.

Training runs as a task of the kernel's event loop and gives way after every snapshot, so that the button is heard.
"""

import asyncio
import io

import ipywidgets as widgets
from matplotlib.figure import Figure

from fusionkit.errors import FusionkitError
from fusionkit.live import PAPER_WEIGHTS, TASKS, History, live_figure, maps_figure, train_live

DPI = 85
PAUSE_SECONDS = 0.02
# Drawing costs about as much as a few steps, so long runs are looked at less often.
LOOKS = 50
WORDS = {"intensity_max": "intensity", "gradient_max": "gradient", "ssim_to_sources": "SSIM"}


def png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def show(image: widgets.Image, value: bytes) -> None:
    """Put a picture into its widget, which is hidden while it has none."""
    image.value = value
    image.layout.display = None if value else "none"


class LivePanel:
    """Controls, a live picture and, after training, the attention maps; display ``box``.

    Args:
        width: Channels at the start.
        steps: Steps at the start.
    """

    def __init__(self, width: int = 8, steps: int = 400) -> None:
        style = {"description_width": "7em"}
        self.task = widgets.Dropdown(options=list(TASKS), description="modality", style=style)
        self.weights = {
            term: widgets.FloatSlider(value, min=0, max=200, step=10, description=WORDS[term], style=style)
            for term, value in PAPER_WEIGHTS.items()
        }
        self.width = widgets.IntSlider(width, min=4, max=32, step=4, description="width C", style=style)
        self.steps = widgets.IntSlider(steps, min=50, max=2000, step=50, description="steps", style=style)
        self.button = widgets.Button(description="Train", button_style="primary")
        self.status = widgets.Label("ready")
        self.picture = widgets.Image(format="png")
        self.maps = widgets.Image(format="png")
        show(self.picture, b"")
        show(self.maps, b"")
        self.button.on_click(self._clicked)
        self.history: History | None = None
        self._running: asyncio.Task | None = None
        self._stop = False
        left = widgets.VBox([self.task, self.width, self.steps, widgets.HBox([self.button, self.status])])
        right = widgets.VBox(list(self.weights.values()))
        self.box = widgets.VBox([widgets.HBox([left, right]), self.picture, self.maps])

    def _clicked(self, _button: widgets.Button) -> None:
        if self._running is not None and not self._running.done():
            self._stop = True
        else:
            self._running = asyncio.ensure_future(self.train())

    async def train(self) -> None:
        """Train with the values that the controls have now, until the end or until the button is pressed again."""
        self._stop = False
        self.button.description, self.button.button_style = "Stop", "warning"
        show(self.maps, b"")
        try:
            await self._go()
        except FusionkitError as error:
            self.status.value = str(error)
        finally:
            self.button.description, self.button.button_style = "Train", "primary"

    async def _go(self) -> None:
        weights = {term: slider.value for term, slider in self.weights.items()}
        self.history = History(self.task.value, weights)
        steps = self.steps.value
        every = max(5, steps // LOOKS)
        for snapshot in train_live(self.task.value, weights, self.width.value, steps, every):
            self.history.snapshots.append(snapshot)
            show(self.picture, png(live_figure(self.history)))
            self.status.value = f"step {snapshot.step} of {steps}, loss {snapshot.losses['total']:.1f}"
            await asyncio.sleep(PAUSE_SECONDS)
            if self._stop:
                self.status.value = f"stopped at step {snapshot.step}"
                break
        show(self.maps, png(maps_figure(self.history.snapshots[-1].model, self.history.task)))


def channel_browser(history: History) -> widgets.VBox:
    """Return a slider over the channels of a trained network above their surprise and attention maps.

    Args:
        history: A finished run.
    """
    model, task = history.snapshots[-1].model, history.task
    channels = model.decoder[1].in_channels
    slider = widgets.IntSlider(0, min=0, max=channels - 1, description="channel", continuous_update=False)
    picture = widgets.Image(format="png", layout={"display": "none"})

    def update(change: dict) -> None:
        show(picture, png(maps_figure(model, task, change["new"])))

    slider.observe(update, "value")
    return widgets.VBox([slider, picture])
