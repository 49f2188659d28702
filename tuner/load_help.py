"""The longer help texts of `servetune load`: the small languages of its options."""

from __future__ import annotations

ARRIVALS_HELP = (
    "poisson; constant; gamma:BURSTINESS (1 is poisson); ramp:BEGIN,END; steps:SHARE,SHARE,...; "
    "spike:BASE,PEAK,LENGTH,N; diurnal:VALLEY,PEAK,POWER; periodic:EVERY,WORK,IDLE such as periodic:15m,3m; "
    "or a utilisation pattern: low_average, peak_valley, short_spike, periodic_work. Shares are of --rate, LENGTH is "
    "one of the window; settings at the end may be left out."
)
TRACE_HELP = (
    "Replay a CSV file of times in seconds: its column timestamp_s, or the first. Stretched where --rate says "
    "otherwise than it, begun anew when it ends."
)
SLO_HELP = (
    "'latency_p99_ms<=50' (p50, p90, p95, p99, p99_9; from when a request was due), 'error_ratio<=0.001', "
    "'goodput_ratio>=0.99' or 'goodput_rps>=190' (answered well and within every latency limit); may be repeated."
)
PAYLOAD_HELP = (
    "random, image, text:24-256 (so many words), or files: FILE or FILE*WEIGHT, may be repeated. A file holds a JSON "
    "body (.json), or the raw bytes of the model's one input, or for tensorflow_rest and http any body."
)
