"""Text and labelled data in: readers, the built-in source, splits, and the corpus step."""
