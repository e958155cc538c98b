"""The engine on an NVIDIA GPU: Triton kernels over a paged cache, and CUDA graphs.

Importing this package needs neither triton nor a GPU.
"""
