"""What runs a network on a CPU: PyTorch itself, or OpenVINO with a converted copy of the network."""
