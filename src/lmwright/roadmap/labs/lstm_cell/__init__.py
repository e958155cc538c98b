"""Lab: the LSTM cell."""
