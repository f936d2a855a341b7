"""Define the value objects that all other packages use: links, meetings, forecasts. No I/O."""
