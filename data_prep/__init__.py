"""Audio to store: the four views of every clip of a dataset, in one HDF5 file."""
