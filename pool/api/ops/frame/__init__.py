"""Give each page what all of them share: routing, rendering, navigation, outcomes."""
