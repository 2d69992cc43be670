"""One endpoint as its worker knows it: whether it answers, and whose fault a failure is."""
