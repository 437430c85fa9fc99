"""What a run is: settings, presets, and the checks before anything compiles."""
