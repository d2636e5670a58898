"""How pytest runs the notebooks: outputs are compared in walkthroughs only, and never what went to stderr."""

import os

os.environ["FUSIONKIT_NO_PROGRESS"] = "1"


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
        collector.compare_outputs = collector.path.parent.name == "walkthroughs"
