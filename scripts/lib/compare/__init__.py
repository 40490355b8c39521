"""What `scripts/compare` is made of: builds, contenders, runs, statistics, tables and plots.

Standard library only, so that the script runs wherever Python 3.9 or newer is.
"""
