"""Fuzzers: what others may have written, changed by a seed and a number, through the functions of the commands.

    python -m tests.fuzz records --cases 5000     # run directories, reports, checkpoints, networks, exports
    python -m tests.fuzz stores --cases 5000
    python -m tests.fuzz tables --cases 5000      # of clips, by which a dataset is prepared
    python -m tests.fuzz archives --cases 5000    # zip and tar, compressed by what there is
    python -m tests.fuzz exports --cases 1000     # networks of exports, by their bytes
    python -m tests.fuzz sounds --cases 10000     # every format that libsndfile writes, and those of phones
    python -m tests.fuzz requests --cases 3000    # to an export, by the loader of TensorFlow Serving

Each case has to end as an answer or an InputError, in a line, within `runner.SECONDS`. A module has SEED, and FAILED:
the numbers of cases that once did not, which are always repeated.
"""
