"""Sliders and one picture around ``fusionkit.playground``: what the walkthrough shows in a notebook."""

import ipywidgets as widgets

from fusionkit.errors import FusionkitError
from fusionkit.live import TASKS
from fusionkit.live_panel import png, show
from fusionkit.metrics import CONVENTIONS
from fusionkit.playground import CONTRASTS, MOST_NOISE, RULES, Setting, playground_figure, playground_words


class PlaygroundPanel:
    """Menus and sliders, the picture that follows them, and a line of words; display ``box``.

    Args:
        first: Convention of the left column.
        second: Convention of the right column.
    """

    def __init__(self, first: str = "tang", second: str = "cddfuse") -> None:
        style = {"description_width": "6.5em"}
        late = {"continuous_update": False, "style": style}
        self.task = widgets.Dropdown(options=list(TASKS), value="infrared-visible", description="pair", style=style)
        self.rule = widgets.Dropdown(options=list(RULES), description="fusion rule", style=style)
        self.noise = widgets.FloatSlider(0, min=0, max=MOST_NOISE, step=2, description="noise", **late)
        self.contrast = widgets.FloatSlider(
            1, min=CONTRASTS[0], max=CONTRASTS[1], step=0.1, description="contrast", **late
        )
        self.range = widgets.IntRangeSlider(value=(0, 255), min=0, max=255, description="data range", **late)
        self.first = widgets.Dropdown(options=list(CONVENTIONS), value=first, description="left", style=style)
        self.second = widgets.Dropdown(options=list(CONVENTIONS), value=second, description="right", style=style)
        self.words = widgets.HTML()
        self.picture = widgets.Image(format="png")
        knobs = (self.task, self.rule, self.first, self.second, self.noise, self.contrast, self.range)
        for knob in knobs:
            knob.observe(self.update, "value")
        columns = [widgets.VBox(knobs[:4]), widgets.VBox(knobs[4:])]
        self.box = widgets.VBox([widgets.HBox(columns), self.words, self.picture])
        show(self.picture, b"")

    @property
    def setting(self) -> Setting:
        """Where the knobs stand.

        Raises:
            FusionkitError: The two ends of the range coincide.
        """
        low, high = self.range.value
        return Setting(self.task.value, self.rule.value, self.noise.value, round(self.contrast.value, 1), low, high)

    def update(self, _change: dict | None = None) -> None:
        """Measure and draw what the knobs say."""
        try:
            setting, conventions = self.setting, (self.first.value, self.second.value)
            show(self.picture, png(playground_figure(setting, *conventions)))
            self.words.value = playground_words(setting, *conventions).replace("\n", "<br>")
        except FusionkitError as error:
            self.words.value = str(error)
