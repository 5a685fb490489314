"""How good trained policies are in domains that they may not have seen: `p2p.evaluate`.

    config        EvalConfig: in what is tested
    domain_sets   test domains, drawn or laid out along factors
    pool          episodes on all cores
    performance   what was measured, and its statistics
    subjects      the policies of a run
    evaluate      all of it together
    heat_map      two factors as a picture
    gradient_variance, gradient_worker   the gradient through training (Fig. 8b-c)

Nothing is imported here: the command line needs the settings alone to show its help.
"""
