"""The bounds of what waits between a logging call and ClearML, as docs/internals/evidence.md promises them.

A record waits in the training process, then in the worker until it is handled, then with its run until the server takes
it. Points, parameters and tags that find no room are counted, and read from MLflow's store at the run's end; so are
files. Console text that finds no room is lost in the training process; the worker writes it to disk.

The bytes are those of `budget.weight`.
"""

from __future__ import annotations

from autoinstrument.transport.budget import Limit

_MIB = 2**20

# The training process. It is the tightest: the memory is the training's.
SEND_RECORDS = Limit(100_000, 32 * _MIB)
"""Points, parameters and tags that wait to be sent; other records are few, and always taken."""
SEND_CONSOLE = Limit(1_000_000, 16 * _MIB)
"""Console text that waits to be sent. A printed line is two records, and many are printed while the worker starts."""
SEND_EARLY_CONSOLE = Limit(250_000, _MIB)
"""Console text before the first run, which may never begin: the latest text is kept."""
SEND_CONTENTS = Limit(100_000, 16 * _MIB)
"""Contents of small files that wait to be sent."""
FRAME = Limit(100, 2**17)
"""One message to the worker: `json.dumps` keeps all other threads waiting, half a second for 500,000 points."""
FRAME_BYTES = 64 * _MIB
"""The longest message that a receiver takes for one: far above `FRAME` with one more record of any kind."""

# The worker, of all processes and runs together. What cannot be dropped may take twice the limit; then the socket fills
# up, and the training process's buffer after it.
RECEIVED_RECORDS = Limit(20_000, SEND_RECORDS.bytes)
"""Records that were received and not handled yet, without contents of files."""
RECEIVED_CONTENTS = Limit(20_000, 2 * SEND_CONTENTS.bytes)
"""Contents of files among these; base64 takes a third more than the file."""
UNKNOWN_RUNS = Limit(10_000, RECEIVED_RECORDS.bytes // 4)
"""Records, and console text, of runs that are not known yet."""
WAITING_BYTES = SEND_RECORDS.bytes + RECEIVED_RECORDS.bytes
"""Points, parameters and tags that wait for the server, of all runs: all that can be on the way fits."""

# One run in the worker.
RUN_POINTS = 200_000
"""Points that wait for the server; they take 40 MB of `WAITING_BYTES`."""
RUN_CONTENTS_BYTES = 2 * RECEIVED_CONTENTS.bytes
"""Contents of files that wait for the server."""
RUN_CONSOLE = Limit(5_000, 4 * _MIB)
"""Console lines that wait for the server; the run's folder has all of them."""
