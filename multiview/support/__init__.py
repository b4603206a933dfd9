"""What everything else stands on: errors, files, registries, plugins, processes."""
