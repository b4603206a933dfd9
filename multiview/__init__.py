"""Multi-view audio and music classification: store to run to report, and prediction."""
