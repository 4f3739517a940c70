"""From a data set to the configuration of a model: what it holds, whether it is sound, and what follows from that."""
