"""A run or a study as one page of HTML that needs nothing else: `p2p report`.

    run, study     what a page shows of a run, and of a study
    source         the runs of a study, from their folders or from saved tables
    measured       a run's evaluation as charts
    settings       settings, domains and versions as tables
    comparing      groups of runs, compared
    charts         line charts and intervals as SVG, in the colours of the page
    page           templates, colours, and how numbers are written
    strip          frames of the trained policy

Pages hold no script and load nothing. Equal data gives equal bytes.
"""
