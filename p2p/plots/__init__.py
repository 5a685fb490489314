"""The paper's figures, from the results of studies: `p2p figures`.

    style   sizes and names; `looks` has each method's colour, dash and marker
    data    results and training curves, from committed tables or from run folders
    lines   curves with confidence bands
    panels  rows of panels, one legend for all and a caption
    plots   a function for each figure: what its panels show

Needs the extra `figures` (matplotlib), which is imported when something is drawn.
"""

from p2p.plots.data import Data, load_data
from p2p.plots.panels import Drawn
from p2p.plots.paper import FIGURES, draw

__all__ = ["FIGURES", "Data", "Drawn", "draw", "load_data"]
