"""whisper.cpp by pywhispercpp: opens and hears each file that it is told, and says how long that took."""

import sys
import time

from pywhispercpp.model import Model

weights, threads = sys.argv[1], int(sys.argv[2])
model = Model(weights, n_threads=threads, print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None)
for path in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    said = model.transcribe(path.strip(), language="en")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert said, "nothing was heard"
    print("heard", wall, cpu, flush=True)
