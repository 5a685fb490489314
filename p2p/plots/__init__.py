"""Pictures: of each analysis, and the paper's figures from the results of studies.

    style               sizes, labels, and how a picture becomes a file
    evaluation, surface, gradient_variance, comparison   a file for each analysis

    paper               the paper's figures by name: `p2p figures`
    training            quantities over the steps of training
    strengths           returns over the strength of the domains
    hyperparameters     test returns over what hyperparameters set
    data, selection     tables of a study, and what a figure shows of them
    method_styles       how each method and task is drawn and called
    lines, panels       curves with bands; rows of panels with one legend and a caption
    captions            what axes and captions say

Needs the extra `figures` (matplotlib), which is imported when something is drawn.
"""

from p2p.plots.data import Data, load_data
from p2p.plots.panels import Drawn
from p2p.plots.paper import FIGURES, draw

__all__ = ["FIGURES", "Data", "Drawn", "draw", "load_data"]
