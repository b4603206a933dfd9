"""One short module a dataset: where its clips, labels, folds and sources are."""
