"""How good are the pictures? Features -> metrics with intervals -> report.json -> board."""
