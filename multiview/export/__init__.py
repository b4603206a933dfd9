"""SavedModels of runs, for TensorFlow Serving and whatever else runs TensorFlow."""
