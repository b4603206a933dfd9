"""Audio to store: the views of every clip of a dataset, in one HDF5 file; what `multiview-prepare` does."""
