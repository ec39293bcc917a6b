"""The no-change proof: run a command without the agent, with it, and without it again, and compare what can be seen.

The third run tells what a command does differently each time from what the agent has changed. Loaded by
`autoinstrument run --check` and by the tests alone.
"""
