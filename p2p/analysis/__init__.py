"""What trained runs show: each analysis is a folder of its own.

    evaluation          returns in test domains
    surface             returns on a plane of policies (Fig. 5)
    gradient_variance   variance of the actor's gradient through training (Fig. 8b-c)
    comparison          groups of runs, and what is shown of them

A folder has `config` (its settings), `file` (what it keeps), `results` (what it returns), and
`session`, `measure` or `compare` with its public function. They share:

    session     one call: known results, missing ones, a pool for those, saves and signals
    pool        processes that work through tickets
    file        results kept beside a run
    conditions  what a kept result depends on besides its policy
    groups      runs that differ in their seed alone
    statistics  of few runs, and tests between groups of them

Nothing is imported here: the command line needs the settings alone to show its help.
"""
