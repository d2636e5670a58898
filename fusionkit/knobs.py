"""Knobs above words above a picture: the wiring that every panel of a notebook needs."""

import html
from collections.abc import Callable

import ipywidgets as widgets
from matplotlib.figure import Figure

from fusionkit.errors import FusionkitError
from fusionkit.live_panel import png, show

# A slider that answers when it is let go, with room for its name.
LATE = {"continuous_update": False, "style": {"description_width": "7em"}}


class Knobs:
    """Widgets in two columns, what they say in words, and the picture that belongs to it; display ``box``.

    The answer is a plain function, so it is tested without a kernel. What it refuses with a ``FusionkitError`` is
    shown in place of the words.

    Args:
        answer: Gets the value of every knob under its name; returns words and a figure.
        **knobs: What to turn, by name.
    """

    def __init__(self, answer: Callable[..., tuple[str, Figure]], **knobs: widgets.ValueWidget) -> None:
        self.answer, self.knobs = answer, knobs
        self.words = widgets.HTML()
        self.picture = widgets.Image(format="png")
        show(self.picture, b"")
        for knob in knobs.values():
            knob.observe(self.update, "value")
        column = [*knobs.values()]
        half = (len(column) + 1) // 2
        columns = widgets.HBox([widgets.VBox(column[:half]), widgets.VBox(column[half:])])
        self.box = widgets.VBox([columns, self.words, self.picture])

    def update(self, _change: dict | None = None) -> None:
        """Say and draw what belongs to the knobs as they are now."""
        try:
            words, figure = self.answer(**{name: knob.value for name, knob in self.knobs.items()})
        except FusionkitError as error:
            words, picture = str(error), b""
        else:
            picture = png(figure)
        self.words.value = html.escape(words).replace("\n", "<br>")
        show(self.picture, picture)
