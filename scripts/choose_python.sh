#!/bin/sh
# Print the Python that the environment is made from: the quickest that Podium can use of those on this machine.
# The first one that is found is kept unless another takes less than nine tenths of its time.

here=$(dirname "$0")
best= best_us=
for candidate in python3 python3.13 python3.12 python3.11 /usr/local/bin/python3 /usr/bin/python3 python3.14 python; do
  if [ "$candidate" = python3.14 ] && [ -n "$best" ]; then break; fi  # the last two only if there is no other
  path=$(command -v "$candidate") || continue
  us=$("$path" -I -S "$here/python_speed.py" 2>/dev/null) || continue
  if [ -z "$best" ] || [ $((us * 10)) -lt $((best_us * 9)) ]; then best=$path best_us=$us; fi
done
[ -n "$best" ] && echo "$best"
