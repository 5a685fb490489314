"""What trained runs show: each analysis is a folder with its file, its session and its tables.

    evaluation          returns in test domains
    surface             returns on a plane of policies (Fig. 5)
    gradient_variance   of the actor's gradient through training (Fig. 8b-c)
    comparison          groups of runs, and what is shown of them
    config              the settings of all four
    pool                work on all cores
    statistics          of few runs, and tests between groups of them

Nothing is imported here: the command line needs the settings alone to show its help.
"""
