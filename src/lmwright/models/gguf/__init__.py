"""Reading GGUF, llama.cpp's one-file format: container, storage types, architectures."""
