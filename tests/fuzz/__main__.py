"""Runs a fuzzer at length."""

from __future__ import annotations

import argparse

from tests.fuzz import __doc__ as text
from tests.fuzz.runner import in_processes


def main() -> int:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fuzzer", choices=["archives", "exports", "records", "requests", "sounds", "stores", "tables"])
    parser.add_argument("--cases", type=int, default=1000)
    args = parser.parse_args()
    found = in_processes(args.fuzzer, args.cases)
    print(f"{args.fuzzer}: {found}")
    return int(not found.ok)


if __name__ == "__main__":
    raise SystemExit(main())
