"""The ground floor: errors, files, progress, workers, chains of stages, settings, where numbers come from, tools."""
