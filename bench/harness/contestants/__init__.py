"""Who is measured: one file a contestant. To add one, copy the nearest and put it into `all.py`."""
