"""HTTP server with an OpenAI-compatible API, metrics, and a chat page; everything over `engine`."""
