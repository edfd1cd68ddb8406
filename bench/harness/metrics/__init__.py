"""What is measured: one file a metric. To add one, copy the nearest and put it in `harness.series.METRICS`."""
