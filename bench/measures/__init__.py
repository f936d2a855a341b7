"""Take measures: one file per measure, each with a function `measure`."""
