"""The small foundation: errors, durations, files, devices. Imports nothing of ours."""
