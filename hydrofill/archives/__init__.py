"""Archives: fill files and stores of any size, block by block, within the memory given."""
