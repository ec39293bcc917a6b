"""Pure functions from a run's records to the values of ClearML's requests.

The live mirror and `sync` use these and nothing else, so that a run ends as the same Task whichever way it came.
"""
