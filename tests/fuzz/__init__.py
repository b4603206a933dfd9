"""Fuzzers: what others may have written, changed by a seed and a number, through the functions of the commands.

    python -m tests.fuzz records --cases 5000     # run directories, reports, checkpoints, networks, exports
    python -m tests.fuzz sounds --cases 10000     # every format that libsndfile writes

Each case has to end as an answer or an InputError, in a line, within `runner.SECONDS`. A module has SEED, and FAILED:
the numbers of cases that once did not, which the quick tests repeat.
"""
