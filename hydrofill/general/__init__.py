"""Fill data that no network was trained on: measure the record itself, then ask the general network."""
