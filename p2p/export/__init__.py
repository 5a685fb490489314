"""Takes policies out of p2p: a bundle of ONNX, plain C, JSON and a script, checked as it is made.

    bundle       `export_policy`: choose, describe, write, check, and only then show
    request      ways to choose and formats; imports nothing slow
    choice       which peers' policies go into which bundle
    description  policy.json: the robot, the signals, the training, the scores
    graph        policy.onnx
    header       p2p_policy.h
    check        files against the policy, on observations of real episodes
    run_policy   the script that is copied into a bundle

`p2p.runs.bundle` reads a bundle.
"""
