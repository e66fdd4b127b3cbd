#!/bin/sh
# Runs one stage of a longer job: `stage.sh NAME COMMAND...`. Says what runs and how long it took; where
# STAGES names a file, adds a line to it, from which `.ci/run` makes its closing table.
set -u

name=$1
shift
printf '\n==> %s\n' "$name"
began=$(date +%s)
"$@"
status=$?
seconds=$(($(date +%s) - began))
if [ "$status" -eq 0 ]; then outcome=ok; else outcome="failed ($status)"; fi
printf '<== %s: %s in %s s\n' "$name" "$outcome" "$seconds"
if [ -n "${STAGES:-}" ]; then printf '%s\t%s\t%s\n' "$name" "$outcome" "$seconds" >>"$STAGES"; fi
exit "$status"
