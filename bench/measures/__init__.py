"""What is measured: one file per measure, each with a function `measure`."""
