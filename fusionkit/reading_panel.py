"""Sliders around ``fusionkit.reading_figures``: orders that play, and receptive fields of other step sizes."""

import ipywidgets as widgets

from fusionkit.live_panel import png, show
from fusionkit.reading import WAYS, path_of, receptive_field
from fusionkit.reading_figures import orders_figure, reach_figure

MILLISECONDS = 250
STYLE = {"description_width": "5em"}


def _way_menu() -> widgets.Dropdown:
    return widgets.Dropdown(
        options=[(f"{way.title} ({way.paper})", name) for name, way in WAYS.items()], description="way", style=STYLE
    )


class OrderPlayer:
    """A play button over the four orders of one way, step by step; display ``box``.

    Args:
        height: Rows of patches.
        width: Columns of patches.
    """

    def __init__(self, height: int = 6, width: int = 6) -> None:
        self.size = height, width
        self.way = _way_menu()
        self.step = widgets.IntSlider(1, min=1, max=1, description="step", style=STYLE)
        self.play = widgets.Play(value=1, min=1, max=1, interval=MILLISECONDS)
        self.picture = widgets.Image(format="png")
        show(self.picture, b"")
        widgets.link((self.play, "value"), (self.step, "value"))
        self.way.observe(self._restart, "value")
        self.step.observe(self._draw, "value")
        self._set_length()
        self.box = widgets.VBox([widgets.HBox([self.way, self.play, self.step]), self.picture])

    def _set_length(self) -> None:
        self.play.max = self.step.max = path_of(self.way.value, *self.size).order.shape[1]

    def _restart(self, _change: dict) -> None:
        self.step.value = 1
        self._set_length()
        self._draw({"new": 1})

    def _draw(self, change: dict) -> None:
        show(self.picture, png(orders_figure([self.way.value], *self.size, step=change["new"])))


class ReachExplorer:
    """A menu of ways and a slider of step sizes over the receptive field they give; display ``box``.

    Args:
        side: Rows and columns of the map; odd, 5 or more.
    """

    def __init__(self, side: int = 25) -> None:
        self.side = side
        self.way = _way_menu()
        self.delta = widgets.FloatLogSlider(
            0.01, base=10, min=-3, max=0, step=0.25, description="delta", style=STYLE, continuous_update=False
        )
        self.picture = widgets.Image(format="png")
        show(self.picture, b"")
        for control in (self.way, self.delta):
            control.observe(self._draw, "value")
        self.box = widgets.VBox([widgets.HBox([self.way, self.delta]), self.picture])

    def _draw(self, _change: dict) -> None:
        field = receptive_field(self.way.value, self.side, draws=1, deltas=(self.delta.value, self.delta.value))
        show(self.picture, png(reach_figure({self.way.value: field})))
