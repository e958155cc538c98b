"""Building blocks of the architectures; each reads like its paper."""
