"""A load generator for any server with an OpenAI-compatible API: `lmwright bench serve`."""
