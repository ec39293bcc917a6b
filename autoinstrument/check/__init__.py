"""The no-change proof: run a command without the agent, with it, and without it again, and compare what can be seen.

The third run separates differences that a command shows each time from those that the agent causes. Only
`autoinstrument run --check` and the tests load this package.
"""
