"""Sliders around ``fusionkit.state_space_figures``: one linear system, and a gate that selects."""

from collections.abc import Callable

import ipywidgets as widgets
from matplotlib.figure import Figure

from fusionkit.live_panel import png, show
from fusionkit.state_space import RATES, SIGNALS, SWINGS, Setting, setting_words
from fusionkit.state_space_figures import selection_figure, system_figure

LATE = {"continuous_update": False, "style": {"description_width": "7em"}}


class _Panel:
    """Knobs above a line of words above a picture; display ``box``.

    Args:
        answer: Returns the words and the figure that belong to the knobs.
        knobs: What to turn.
    """

    def __init__(self, answer: Callable[[], tuple[str, Figure]], *knobs: widgets.ValueWidget) -> None:
        self._answer = answer
        self.words = widgets.HTML()
        self.picture = widgets.Image(format="png")
        show(self.picture, b"")
        for knob in knobs:
            knob.observe(self.update, "value")
        half = (len(knobs) + 1) // 2
        columns = [widgets.VBox(knobs[:half]), widgets.VBox(knobs[half:])]
        self.box = widgets.VBox([widgets.HBox(columns), self.words, self.picture])

    def update(self, _change: dict | None = None) -> None:
        """Draw what the knobs say, and say it in words."""
        self.words.value, figure = self._answer()
        show(self.picture, png(figure))


class SystemPanel(_Panel):
    """Sliders for delta, rate and swing and a menu of inputs, over the exact output and both discrete ones."""

    def __init__(self) -> None:
        start = Setting()
        self.delta = widgets.FloatLogSlider(start.delta, min=-1.6, max=0.6, step=0.05, description="delta (s)", **LATE)
        self.rate = widgets.FloatSlider(
            start.rate, min=RATES[0], max=RATES[1], step=0.1, description="rate, -Re(A)", **LATE
        )
        self.swing = widgets.FloatSlider(
            start.swing, min=SWINGS[0], max=SWINGS[1], step=0.5, description="swing, Im(A)", **LATE
        )
        self.signal = widgets.Dropdown(
            options=list(SIGNALS), value=start.signal, description="input", style=LATE["style"]
        )
        super().__init__(self.answer, self.delta, self.signal, self.rate, self.swing)

    @property
    def setting(self) -> Setting:
        """Where the knobs stand."""
        return Setting(round(self.delta.value, 3), round(self.rate.value, 1), self.swing.value, self.signal.value)

    def answer(self) -> tuple[str, Figure]:
        """Return the words and the figure that belong to the knobs."""
        return setting_words(self.setting), system_figure(self.setting)


class SelectionPanel(_Panel):
    """Sliders for the step sizes at marked and at other values, over what the gate makes of them."""

    def __init__(self) -> None:
        style = {"min": -3, "max": 1, "step": 0.1, "readout_format": ".3g", **LATE}
        self.at_marks = widgets.FloatLogSlider(0.3, description="at marks", **style)
        self.elsewhere = widgets.FloatLogSlider(0.03, description="elsewhere", **style)
        super().__init__(self.answer, self.at_marks, self.elsewhere)

    def answer(self) -> tuple[str, Figure]:
        """Return the words and the figure that belong to the knobs."""
        sizes = round(self.at_marks.value, 4), round(self.elsewhere.value, 4)
        title = f"{sizes[0]:.3g} at marks, {sizes[1]:.3g} elsewhere"
        return f"delta = {title}", selection_figure({title: sizes})
