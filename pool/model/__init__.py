"""Value objects that every room speaks of: links, meetings, forecasts. No I/O."""
